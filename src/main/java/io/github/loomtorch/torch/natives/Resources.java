package io.github.loomtorch.torch.natives;

import java.util.ArrayDeque;
import java.util.Deque;
import org.bytedeco.javacpp.Pointer;

/**
 * What its owner has to free: all of it, the last that was made first, also if the owner could not be made to its end.
 */
public final class Resources implements AutoCloseable {
    private final Deque<Runnable> closers = new ArrayDeque<>();

    /** Has something done at the end. */
    public void onClose(Runnable closer) {
        closers.push(closer);
    }

    /** Lets a native object outlive the scope that it was made in, until the end. */
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
