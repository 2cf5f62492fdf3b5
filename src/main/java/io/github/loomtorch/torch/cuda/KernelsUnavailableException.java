package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.request.TorchException;

/** The compiler is missing or the source does not fit the GPU: a model can run without the kernels. */
final class KernelsUnavailableException extends TorchException {
    private static final long serialVersionUID = 1L;

    KernelsUnavailableException(String message) {
        super(message);
    }

    KernelsUnavailableException(String message, Throwable cause) {
        super(message, cause);
    }
}
