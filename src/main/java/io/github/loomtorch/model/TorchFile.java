package io.github.loomtorch.model;

import java.io.IOException;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * A file that Python's {@code torch.save} wrote: {@code pytorch_model.bin}, or nanoGPT's {@code ckpt.pt}. Both formats
 * are read, the zip archive of PyTorch 1.6 and later and the older one. Opening reads the pickle only. Immutable.
 */
final class TorchFile {
    /*
     * A zip archive has one folder, in it data.pkl, the pickled object, whose tensors name their storages by a key, and data/KEY, the
     * elements of a storage. The older format is a sequence of pickles: a magic number, the version, facts on the machine, the object,
     * the list of keys; then for each key a 64-bit number of elements, and the elements.
     * [1] PyTorch, torch/serialization.py, _save and _legacy_save, https://github.com/pytorch/pytorch
     */

    private static final BigInteger MAGIC = new BigInteger("1950a86a20f9469cfc6c", 16);
    private static final Long VERSION = 1001L;
    private static final int ZIP_SIGNATURE = 0x04034b50;
    private static final int PICKLE_SIGNATURE = 0x80; // its first instruction: PROTO
    private static final String PICKLE = "data.pkl";

    private final Path path;
    private final Object root;
    private final Map<String, CheckpointTensor.Storage> storages;

    private TorchFile(Path path, Object root, Map<String, CheckpointTensor.Storage> storages) {
        this.path = path;
        this.root = root;
        this.storages = storages;
    }

    /**
     * Opens a file.
     *
     * @throws IOException if it cannot be read, is of neither format, is damaged, or its pickle has more than tensors
     *     and plain data
     */
    static TorchFile open(Path path) throws IOException {
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            if (channel.size() < Integer.BYTES) {
                throw new IOException(path + ": expected a file of torch.save, got " + channel.size() + " bytes");
            }
            ByteBuffer start = ModelFiles.read(path, channel, 0, Integer.BYTES);
            if (start.getInt(0) == ZIP_SIGNATURE) {
                return openZip(path, channel);
            }
            if (Byte.toUnsignedInt(start.get(0)) == PICKLE_SIGNATURE) {
                return openLegacy(path, channel);
            }
            throw new IOException(path
                    + ": expected a file of torch.save, which begins with PK or 0x80, got 0x%08x"
                            .formatted(Integer.reverseBytes(start.getInt(0)))
                    + "; is it a Git LFS pointer?");
        }
    }

    private static TorchFile openZip(Path path, FileChannel channel) throws IOException {
        return openZip(path, channel, StoredZip.read(path, channel));
    }

    /** The folder of an archive, with a slash at the end. */
    static String folder(Path path, Set<String> entries) throws IOException {
        return entries.stream()
                .filter(name -> name.endsWith("/" + PICKLE) && name.indexOf('/') == name.length() - PICKLE.length() - 1)
                .findFirst()
                .map(name -> name.substring(0, name.length() - PICKLE.length()))
                .orElseThrow(
                        () -> new IOException(path + ": expected an archive of torch.save, got one without " + PICKLE));
    }

    /** Opens a zip archive whose directory was read. */
    static TorchFile openZip(Path path, FileChannel channel, Map<String, StoredZip.Entry> entries) throws IOException {
        String folder = folder(path, entries.keySet());
        StoredZip.Entry order = entries.get(folder + "byteorder");
        if (order != null && !text(path, channel, order.stored()).equals("little")) {
            throw new IOException(path + ": byte order must be little");
        }
        CheckpointTensor.Storage entry =
                Objects.requireNonNull(entries.get(folder + PICKLE)).stored();
        if (entry.size() > Pickle.MAX_BYTES) {
            throw new IOException(
                    path + ": " + PICKLE + " must have <= " + Pickle.MAX_BYTES + " bytes, got " + entry.size());
        }
        Pickle pickle =
                new Pickle(path + ": " + PICKLE, ModelFiles.read(path, channel, entry.begin(), (int) entry.size()));
        Object root = pickle.read();
        Map<String, CheckpointTensor.Storage> storages = new HashMap<>();
        for (Pickle.Storage storage : pickle.storages().values()) {
            StoredZip.Entry stored = entries.get(folder + "data/" + storage.key());
            if (stored == null) {
                throw new IOException(path + ": expected an entry data/" + Json.shorten(storage.key()) + ", got none");
            }
            CheckpointTensor.Storage data = stored.stored();
            requireSize(path, storage, data.size());
            storages.put(storage.key(), data);
        }
        return new TorchFile(path, root, storages);
    }

    private static String text(Path path, FileChannel channel, CheckpointTensor.Storage entry) throws IOException {
        int size = (int) Math.min(entry.size(), 16);
        return new String(ModelFiles.read(path, channel, entry.begin(), size).array(), StandardCharsets.UTF_8);
    }

    private static void requireSize(Path path, Pickle.Storage storage, long bytes) throws IOException {
        int elementBytes = storage.dtype().sizeBytes();
        if (bytes % elementBytes != 0 || bytes / elementBytes != storage.elements()) {
            throw new IOException(path + ": storage " + Json.shorten(storage.key()) + " must have " + storage.elements()
                    + " elements of " + storage.dtype() + ", got " + bytes + " bytes");
        }
    }

    private static TorchFile openLegacy(Path path, FileChannel channel) throws IOException {
        long fileBytes = channel.size();
        ByteBuffer in = channel.map(FileChannel.MapMode.READ_ONLY, 0, Math.min(fileBytes, 4L * Pickle.MAX_BYTES));
        if (!MAGIC.equals(pickle(path, in).read())) {
            throw new IOException(path + ": expected a file of torch.save, got a pickle without its magic number");
        }
        if (!VERSION.equals(pickle(path, in).read())) {
            throw new IOException(path + ": version of the format must be " + VERSION + ", got another");
        }
        if (!(pickle(path, in).read() instanceof Map<?, ?> machine)
                || !Boolean.TRUE.equals(machine.get("little_endian"))) {
            throw new IOException(path + ": byte order must be little");
        }
        Pickle pickle = pickle(path, in);
        Object root = pickle.read();
        if (!(pickle(path, in).read() instanceof List<?> keys)) {
            throw new IOException(path + ": expected a list of storages, got something else");
        }
        Map<String, CheckpointTensor.Storage> storages = new HashMap<>();
        long at = in.position();
        for (Object value : keys) {
            if (!(value instanceof String key) || !pickle.storages().containsKey(key)) {
                throw new IOException(path + ": listed storages must be those of the tensors, got another");
            }
            Pickle.Storage storage = pickle.storages().get(key);
            key = Json.shorten(key);
            if (storages.containsKey(storage.key())) {
                throw new IOException(path + ": storage " + key + " must be listed once, got it again");
            }
            if (fileBytes - at < Long.BYTES) {
                throw new IOException(path + ": expected storage " + key + " at " + at + ", got the end of the file");
            }
            long elements = ModelFiles.read(path, channel, at, Long.BYTES).getLong();
            at += Long.BYTES;
            long left = (fileBytes - at) / storage.dtype().sizeBytes();
            if (elements != storage.elements() || elements > left) {
                throw new IOException(path + ": storage " + key + " must have " + storage.elements()
                        + " elements of " + storage.dtype() + ", got " + Math.min(elements, left)
                        + "; is the download complete?");
            }
            long bytes = elements * storage.dtype().sizeBytes();
            storages.put(storage.key(), new CheckpointTensor.Storage(path, at, bytes));
            at += bytes;
        }
        return new TorchFile(path, root, storages);
    }

    private static Pickle pickle(Path path, ByteBuffer in) {
        return new Pickle(path.toString(), in);
    }

    /** The value of a key of the saved dict, or an empty map if it has none of a dict. */
    Map<?, ?> dict(String key) {
        return root instanceof Map<?, ?> map && map.get(key) instanceof Map<?, ?> value ? value : Map.of();
    }

    /**
     * The tensors of a saved state dict, or of the dict {@code state_dict} in what was saved. Other values are ignored.
     */
    Map<String, CheckpointTensor> tensors() throws IOException {
        if (!(root instanceof Map<?, ?> map)) {
            throw new IOException(path + ": expected a dict of tensors, got something else");
        }
        return tensors(map.get("state_dict") instanceof Map<?, ?> nested ? nested : map);
    }

    /** The tensors among the values of a dict. */
    Map<String, CheckpointTensor> tensors(Map<?, ?> dict) throws IOException {
        Map<String, CheckpointTensor> tensors = new LinkedHashMap<>();
        for (Map.Entry<?, ?> item : dict.entrySet()) {
            if (item.getKey() instanceof String name && item.getValue() instanceof Pickle.TensorView view) {
                CheckpointTensor.Storage storage = storages.get(view.storage().key());
                if (storage == null) {
                    throw new IOException(path + ": expected storage "
                            + Json.shorten(view.storage().key()) + " of tensor " + Json.shorten(name) + ", got none");
                }
                tensors.put(
                        name,
                        new CheckpointTensor(
                                name, view.storage().dtype(), view.shape(), view.strides(), storage, view.offset()));
            }
        }
        return tensors;
    }
}
