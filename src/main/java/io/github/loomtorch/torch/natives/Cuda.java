package io.github.loomtorch.torch.natives;

import io.github.loomtorch.request.TorchException;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.cuda.global.nvrtc;

/** Turns the result codes of CUDA's own functions into exceptions. */
public final class Cuda {

    private Cuda() {}

    /**
     * Of the runtime and the driver, whose codes agree.
     *
     * @throws TorchException unless the call succeeded
     */
    public static void check(int result, String call) {
        if (result != cudart.cudaSuccess) {
            throw new TorchException(
                    "CUDA error: " + cudart.cudaGetErrorString(result).getString() + " (" + result + ") in " + call);
        }
    }

    /**
     * Of the run-time compiler.
     *
     * @throws TorchException unless the call succeeded
     */
    public static void checkNvrtc(int result, String call) {
        if (result != nvrtc.NVRTC_SUCCESS) {
            throw new TorchException(
                    "NVRTC error: " + nvrtc.nvrtcGetErrorString(result).getString() + " in " + call);
        }
    }
}
