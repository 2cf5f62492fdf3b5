package io.github.loomtorch.cli;

import java.io.IOException;
import java.io.OutputStream;

/** Remembers why a write failed, which {@link java.io.PrintWriter} does not. */
final class StandardOutput extends OutputStream {
    private final OutputStream out;
    private volatile String failure = "";

    StandardOutput(OutputStream out) {
        this.out = out;
    }

    @Override
    public void write(int b) throws IOException {
        write(new byte[] {(byte) b}, 0, 1);
    }

    @Override
    public void write(byte[] bytes, int offset, int length) throws IOException {
        try {
            out.write(bytes, offset, length);
        } catch (IOException e) {
            failure = String.valueOf(e.getMessage());
            throw e;
        }
    }

    /** Why the last write failed; empty if none did. */
    String failure() {
        return failure;
    }

    /** Whether the reader of a pipe, such as {@code head}, has ended: then the failure is no error. */
    boolean isClosedByReader() {
        return failure.contains("Broken pipe")
                || failure.contains("pipe is being closed")
                || failure.contains("pipe has been ended");
    }
}
