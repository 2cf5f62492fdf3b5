package io.github.loomtorch.cli;

import io.github.loomtorch.hub.HubProgress;
import java.io.PrintStream;
import org.jspecify.annotations.Nullable;

/** A bar with rate and time left from the first byte of a download on. Confined to the thread that downloads. */
final class DownloadProgress implements HubProgress, AutoCloseable {
    private final PrintStream err;
    private @Nullable Progress bar; // null until there is a download

    DownloadProgress(PrintStream err) {
        this.err = err;
    }

    @Override
    public void received(long received, long total) {
        if (bar == null) {
            bar = Progress.ofBytes("Downloading", total, err);
        }
        bar.stepTo(received);
    }

    @Override
    public void close() {
        if (bar != null) {
            bar.close();
        }
    }
}
