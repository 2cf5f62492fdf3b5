package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.zip.CRC32;
import org.jspecify.annotations.Nullable;

/**
 * A TorchScript archive: a program and its tensors, as in {@code model.ts}. Opening it checks the whole file; nothing
 * of it is executed. Immutable and thread-safe.
 */
public final class TorchScriptArchive {
    /*
     * A zip archive with one folder. In it are data.pkl, the module as a pickle, whose attributes that are tensors name their storages
     * by a key; data/KEY, the elements of a storage; code/__torch__.py, the source text of the module's class; constants.pkl, a tuple of
     * tensors that the source names; byteorder; and .data/version, the version of the operators that the source uses.
     * [1] PyTorch, torch/csrc/jit/docs/serialization.md, https://github.com/pytorch/pytorch
     */

    /** The class of the module. */
    static final String CLASS = "Gpt2";

    static final String PICKLE = "data.pkl";
    static final String PROGRAM = "code/__torch__.py";

    private static final int MAX_PROGRAM_BYTES = 1 << 20; // a hundred times that of ours
    private static final int BUFFER_BYTES = 1 << 20;

    private final Path path;
    private final Map<String, CheckpointTensor> tensors;
    private final String program;

    private TorchScriptArchive(Path path, Map<String, CheckpointTensor> tensors, String program) {
        this.path = path;
        this.tensors = tensors;
        this.program = program;
    }

    /**
     * Opens an archive. The sizes of all entries, and the CRC-32 of all that are not compressed, are checked before
     * anything in them is read.
     *
     * @param file such as {@code model.ts}
     * @return its tensors and its program
     * @throws IOException if the file cannot be read, is damaged or not a TorchScript archive, or if its module has
     *     more than tensors and plain data
     */
    public static TorchScriptArchive open(Path file) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            Map<String, StoredZip.Entry> entries = StoredZip.read(file, channel);
            for (StoredZip.Entry entry : entries.values()) {
                if (!entry.compressed()) {
                    requireIntact(file, channel, entry);
                }
            }
            String program =
                    readProgram(file, channel, entries.get(TorchFile.folder(file, entries.keySet()) + PROGRAM));
            return new TorchScriptArchive(
                    file, TorchFile.openZip(file, channel, entries).tensors(), program);
        }
    }

    private static void requireIntact(Path file, FileChannel channel, StoredZip.Entry entry) throws IOException {
        CRC32 crc = new CRC32();
        ByteBuffer buffer =
                ByteBuffer.allocateDirect((int) Math.min(entry.data().size(), BUFFER_BYTES));
        long at = entry.data().begin();
        for (long left = entry.data().size(); left > 0; left -= buffer.limit()) {
            buffer.clear().limit((int) Math.min(left, buffer.capacity()));
            ModelFiles.readFully(file, channel, at, buffer);
            at += buffer.limit();
            crc.update(buffer);
        }
        if (crc.getValue() != entry.crc()) {
            throw new IOException("%s: entry %s must have CRC-32 %08x, got %08x; the file is damaged"
                    .formatted(file, Json.shorten(entry.name()), entry.crc(), crc.getValue()));
        }
    }

    /** The text, or an empty one if it is compressed or longer than any of ours, and so is not ours. */
    private static String readProgram(Path file, FileChannel channel, StoredZip.@Nullable Entry entry)
            throws IOException {
        if (entry == null || entry.compressed() || entry.data().size() > MAX_PROGRAM_BYTES) {
            return "";
        }
        ByteBuffer text = ModelFiles.read(
                file, channel, entry.data().begin(), (int) entry.data().size());
        return StandardCharsets.UTF_8.decode(text).toString();
    }

    /**
     * The file.
     *
     * @return as given to {@link #open}
     */
    public Path path() {
        return path;
    }

    /**
     * The tensors among the module's attributes.
     *
     * @return by the attributes' names; unmodifiable
     */
    public Map<String, CheckpointTensor> tensors() {
        return tensors;
    }

    /**
     * The source text of the module's class.
     *
     * @return as it is in the archive, or an empty text if it is compressed or longer than 1 MiB
     */
    public String program() {
        return program;
    }
}
