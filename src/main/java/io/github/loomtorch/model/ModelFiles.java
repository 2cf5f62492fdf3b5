package io.github.loomtorch.model;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;

/**
 * Finds the files of a model directory. A file may be a symbolic link within the directory or, as in Hugging Face's
 * cache ({@code snapshots/<commit>/<file> -> ../../blobs/<hash>}), into the {@code blobs} beside {@code snapshots},
 * whose files may be links into the {@code blobs} that all models of the cache share. Links to any other place are
 * refused, so that a downloaded directory cannot make the program read other files.
 */
final class ModelFiles {
    private ModelFiles() {}

    /** Whether there is a file of that name, or a link to one wherever it is. */
    static boolean has(Path directory, String name) {
        return Files.isRegularFile(directory.resolve(name));
    }

    /**
     * Finds a file.
     *
     * @param where what asks for the file; messages begin with it
     * @param name from a file of the directory, so it may be anything
     * @throws IOException if the name is not that of a file in the directory, or a link leads elsewhere
     */
    static Path require(String where, Path directory, String name) throws IOException {
        Path file;
        try {
            file = directory.resolve(name);
        } catch (InvalidPathException e) {
            throw new IOException(
                    where + ": file name must be valid, got \"" + Json.shorten(name.replace('\0', '?')) + "\"", e);
        }
        if (name.isEmpty() || name.contains("/") || name.contains("\\") || name.equals(".") || name.equals("..")) {
            throw new IOException(where + ": file name must have no directory, got \"" + Json.shorten(name) + "\"");
        }
        if (!Files.isRegularFile(file)) {
            String got = Files.isDirectory(file) ? "a directory" : Files.exists(file) ? "a special file" : "nothing";
            throw new IOException(where + ": expected a file " + Json.shorten(name) + ", got " + got);
        }
        requireInside(directory, file);
        return file;
    }

    private static void requireInside(Path directory, Path file) throws IOException {
        Path home = directory.toRealPath();
        Path real = file.toRealPath();
        if (real.startsWith(home)) {
            return;
        }
        for (Path parent = home; parent != null && parent.getFileName() != null; parent = parent.getParent()) {
            if (parent.getFileName().toString().equals("snapshots") && isBlob(parent, real)) {
                return;
            }
        }
        throw new IOException(file + ": link must stay in the model directory, got one to " + real
                + "; copy the file, or name the directory that it is in");
    }

    /** Whether a file is the model's blob, or one of the store that all models of a cache share, which has a marker. */
    private static boolean isBlob(Path snapshots, Path real) {
        Path own = snapshots.resolveSibling("blobs");
        Path shared = snapshots.resolveSibling("../blobs").normalize();
        return real.startsWith(own)
                || Files.isRegularFile(shared.resolve(".huggingface-shared-blobs")) && real.startsWith(shared);
    }

    /** Reads {@code size} bytes, which the caller knows to be few, into an array of that size. */
    static ByteBuffer read(Path file, FileChannel channel, long position, int size) throws IOException {
        ByteBuffer buffer = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
        readFully(file, channel, position, buffer);
        return buffer;
    }

    /** Fills a buffer from its start to its limit, and sets its position to the start. */
    static void readFully(Path file, FileChannel channel, long position, ByteBuffer buffer) throws IOException {
        while (buffer.hasRemaining()) {
            if (channel.read(buffer, position + buffer.position()) < 0) {
                throw new EOFException(
                        file + ": expected " + buffer.remaining() + " more bytes, got the end of the file");
            }
        }
        buffer.flip();
    }
}
