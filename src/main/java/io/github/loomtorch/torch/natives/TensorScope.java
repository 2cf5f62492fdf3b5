package io.github.loomtorch.torch.natives;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.InferenceMode;

/**
 * The lifetime of tensors on this thread: what is made inside is freed at its end, unless its reference is retained,
 * and no gradients are recorded. Both are thread-local, so it must be closed by the thread that opened it.
 */
public final class TensorScope implements AutoCloseable {
    private final PointerScope pointers = new PointerScope();
    private final InferenceMode inference = new InferenceMode(true);

    @Override
    public void close() {
        inference.close();
        pointers.close();
    }
}
