package io.github.loomtorch.torch.natives;

import java.util.ArrayDeque;
import java.util.Deque;
import org.bytedeco.javacpp.Pointer;

/** A stack of things to free, closed in reverse order, also when the owner's constructor fails half-way. */
public final class Resources implements AutoCloseable {
    private final Deque<Runnable> closers = new ArrayDeque<>();

    /** Runs an action when this is closed. */
    public void onClose(Runnable closer) {
        closers.push(closer);
    }

    /** Keeps a native object alive beyond the scope that it was made in, until this is closed. */
    public <P extends Pointer> P keep(P pointer) {
        pointer.retainReference();
        closers.push(pointer::releaseReference);
        return pointer;
    }

    /** Idempotent. */
    @Override
    public void close() {
        while (!closers.isEmpty()) {
            closers.pop().run();
        }
    }
}
