package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Pattern;

/**
 * Writes a file whole or not at all: into a temporary file beside it, which is then renamed. If that fails, or the JVM
 * is told to end (SIGTERM, SIGINT, {@code System.exit}), the temporary file is deleted and what was there before stays.
 * A temporary file that a killed process left is deleted when the same file is next written. Several threads and
 * processes may write the same file at once; the last wins.
 */
public final class TemporaryFile {
    /*
     * A temporary file is locked while it is written, and the system releases the locks of a process that ends: one that can be locked is
     * abandoned. A process loses its lock on a file when it closes any channel to that file, so those of this process must not be tried.
     */
    private static final Set<Path> OWN = ConcurrentHashMap.newKeySet();

    private static final Pattern NAME_END = Pattern.compile("\\.[0-9a-f-]{36}\\.tmp");

    /** Takes the content of the file. */
    @FunctionalInterface
    public interface Output {
        /**
         * Writes bytes at any place; what is never written is zero.
         *
         * @param data read from its position to its limit
         * @param position in the file, in bytes
         * @throws IOException if it cannot be written; names the file and the reason
         */
        void write(ByteBuffer data, long position) throws IOException;
    }

    /** Makes the content of the file. */
    @FunctionalInterface
    public interface Content {
        /**
         * Writes all of it.
         *
         * @param output takes it
         * @throws IOException if it cannot be made or written
         */
        void writeTo(Output output) throws IOException;
    }

    private final Path file;
    private final Path temporary;
    private boolean done; // renamed or deleted; guarded by this

    private TemporaryFile(Path file) {
        this.file = file.toAbsolutePath();
        temporary = this.file.resolveSibling(file.getFileName() + "." + UUID.randomUUID() + ".tmp");
    }

    /**
     * Writes a file.
     *
     * @param file replaced if it is there
     * @param content of the file
     * @throws IOException if the content cannot be made; or if it cannot be written, naming the file and the reason
     */
    public static void write(Path file, Content content) throws IOException {
        deleteAbandoned(file);
        TemporaryFile writing = new TemporaryFile(file);
        Thread hook = new Thread(writing::delete);
        OWN.add(writing.temporary);
        try {
            Runtime.getRuntime().addShutdownHook(hook);
            writing.run(content);
        } finally {
            writing.delete();
            OWN.remove(writing.temporary);
            removeHook(hook);
        }
    }

    private void run(Content content) throws IOException {
        try (FileChannel channel = create();
                FileLock lock = channel.lock()) {
            content.writeTo((data, position) -> write(channel, data, position));
            channel.force(true);
            rename();
        } catch (FileSystemException e) {
            throw failure(e);
        }
    }

    private void write(FileChannel channel, ByteBuffer data, long position) throws IOException {
        try {
            for (long at = position; data.hasRemaining(); ) {
                at += channel.write(data, at);
            }
        } catch (IOException e) { // a full disk, a limit of the file's size
            throw failure(e);
        }
    }

    private synchronized FileChannel create() throws IOException {
        requireRunning();
        return FileChannel.open(temporary, StandardOpenOption.WRITE, StandardOpenOption.CREATE_NEW);
    }

    private synchronized void rename() throws IOException {
        requireRunning();
        Files.move(temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        done = true;
    }

    private void requireRunning() throws IOException {
        if (done) {
            throw new IOException(file + " could not be written: the program was told to end");
        }
    }

    private synchronized void delete() {
        if (!done) {
            done = true;
            temporary.toFile().delete();
        }
    }

    private static void removeHook(Thread hook) {
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException e) {
            // the JVM is ending: the hook runs or has run
        }
    }

    private static void deleteAbandoned(Path file) {
        Path target = file.toAbsolutePath();
        String name = target.getFileName().toString();
        try (DirectoryStream<Path> files = Files.newDirectoryStream(
                target.getParent(),
                candidate -> isTemporary(name, candidate.getFileName().toString()))) {
            for (Path candidate : files) {
                if (!OWN.contains(candidate)) {
                    deleteUnlocked(candidate);
                }
            }
        } catch (IOException | DirectoryIteratorException e) {
            // another process was faster, or the directory cannot be read: writing says what is wrong
        }
    }

    private static boolean isTemporary(String name, String candidate) {
        return candidate.startsWith(name)
                && NAME_END.matcher(candidate.substring(name.length())).matches();
    }

    private static void deleteUnlocked(Path candidate) throws IOException {
        try (FileChannel channel = FileChannel.open(candidate, StandardOpenOption.WRITE);
                FileLock lock = channel.tryLock()) {
            if (lock != null) {
                Files.delete(candidate);
            }
        }
    }

    /** Without the name of the temporary file, which says nothing to the user. */
    private IOException failure(IOException e) {
        String reason = e.getMessage();
        if (e instanceof AccessDeniedException) {
            reason = "access denied";
        } else if (e instanceof FileSystemException failed && failed.getReason() != null) {
            reason = failed.getReason();
        }
        return new IOException(file + " could not be written: " + reason, e);
    }
}
