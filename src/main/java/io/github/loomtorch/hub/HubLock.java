package io.github.loomtorch.hub;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A lock between threads and processes. The operating system frees it when its process ends. */
final class HubLock implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(HubLock.class);

    private final FileChannel channel;

    private HubLock(FileChannel channel) {
        this.channel = channel;
    }

    /** Waits until nobody else holds the lock. */
    static HubLock acquire(Path file, Duration poll) throws IOException, InterruptedException {
        Files.createDirectories(file.getParent());
        FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE, StandardOpenOption.CREATE);
        try {
            for (boolean isFirst = true; tryLock(channel) == null; isFirst = false) {
                if (isFirst) {
                    LOG.info("waiting for another download, which holds {}", file);
                }
                Thread.sleep(poll);
            }
            return new HubLock(channel);
        } catch (IOException | InterruptedException e) {
            channel.close();
            throw e;
        }
    }

    private static @Nullable FileLock tryLock(FileChannel channel) throws IOException {
        try {
            return channel.tryLock();
        } catch (OverlappingFileLockException e) { // a thread of this process has it
            return null;
        }
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }
}
