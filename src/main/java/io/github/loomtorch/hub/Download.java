package io.github.loomtorch.hub;

import io.github.loomtorch.hub.HubConnection.Body;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.util.List;
import java.util.function.LongConsumer;

/** Downloads one file, from where an earlier download ended. Confined to one thread, which holds the model's lock. */
final class Download {
    private static final int BUFFER_BYTES = 1 << 20;

    private final HubConnection connection;
    private final HubSettings.Timing timing;
    private final String commit;
    private final HubFile file;
    private final LongConsumer progress;

    private MessageDigest digest; // of the bytes before at
    private long at;

    /**
     * A download.
     *
     * @param progress gets the number of bytes that are there
     */
    Download(HubConnection connection, HubSettings.Timing timing, String commit, HubFile file, LongConsumer progress) {
        this.connection = connection;
        this.timing = timing;
        this.commit = commit;
        this.file = file;
        this.progress = progress;
        digest = file.digest();
    }

    /**
     * Makes the partial file whole, and checks it. If it is damaged it is deleted; if it was begun earlier, it is
     * downloaded once more.
     *
     * @throws HubFailure if the hub does not give the file that it announced
     * @throws IOException if the file cannot be written; its bytes so far are kept
     */
    void run(Path partial) throws IOException, InterruptedException {
        boolean isResumed = Files.exists(partial) && Files.size(partial) > 0;
        try {
            fill(partial);
        } catch (HubFailure e) {
            if (e.isTemporary()) {
                throw e; // what is there is continued by the next download
            }
            Files.deleteIfExists(partial);
            if (!isResumed) {
                throw e;
            }
            fill(partial);
        }
    }

    private void fill(Path partial) throws IOException, InterruptedException {
        try (FileChannel channel = FileChannel.open(
                partial, StandardOpenOption.READ, StandardOpenOption.WRITE, StandardOpenOption.CREATE)) {
            digest = file.digest();
            at = 0;
            hash(channel, Math.min(channel.size(), file.size()));
            Retries retries = new Retries(timing);
            while (at < file.size()) {
                long before = at;
                try {
                    receive(channel);
                } catch (HubFailure e) {
                    if (at > before) {
                        retries.progressed();
                    }
                    retries.failed(e);
                }
            }
            channel.truncate(file.size());
            file.check(digest);
            channel.force(true);
        }
    }

    /** Reads the bytes of an earlier download again. */
    private void hash(FileChannel channel, long count) throws IOException {
        ByteBuffer buffer = ByteBuffer.allocate(BUFFER_BYTES);
        while (at < count) {
            buffer.clear().limit((int) Math.min(buffer.capacity(), count - at));
            int read = channel.read(buffer, at);
            if (read < 0) {
                throw new IOException(file.name() + ": the partial file became shorter while it was read");
            }
            digest.update(buffer.flip());
            at += read;
        }
        progress.accept(at);
    }

    private void receive(FileChannel channel) throws IOException, InterruptedException {
        Body body = connection.open(commit, file, at);
        try (BodyReader reader = body.reader()) {
            if (body.start() != at) { // the hub sends all of it
                at = 0;
                digest = file.digest();
            }
            for (List<ByteBuffer> data = reader.next(); !data.isEmpty(); data = reader.next()) {
                for (ByteBuffer buffer : data) {
                    if (buffer.remaining() > file.size() - at) {
                        throw HubFailure.permanent(file.name() + ": expected " + file.size() + " bytes, got more");
                    }
                    digest.update(buffer.duplicate());
                    write(channel, buffer);
                }
                progress.accept(at);
            }
        }
        if (at < file.size()) {
            throw HubFailure.connection(
                    file.name() + ": the answer ended after " + at + " of " + file.size() + " bytes", null);
        }
    }

    private void write(FileChannel channel, ByteBuffer buffer) throws IOException {
        try {
            while (buffer.hasRemaining()) {
                at += channel.write(buffer, at);
            }
        } catch (IOException e) { // a full disk
            throw new IOException(
                    file.name() + " could not be written: " + e.getMessage()
                            + "; free disk space, or choose another cache by HF_HUB_CACHE",
                    e);
        }
    }
}
