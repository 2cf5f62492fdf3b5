package io.github.loomtorch.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The named tensors of a checkpoint in the safetensors format: one file, or several (shards) and the index that says
 * which tensor is in which. Opening reads and checks the headers only; {@link #tensor} maps one tensor's bytes into
 * memory, so a file of any size works and nothing is copied. No file stays open: a mapping lives until its buffer is
 * garbage collected, and the file must not be changed until then. Immutable and thread-safe.
 */
public final class Safetensors {
    /*
     * A file is: u64 length of the header, little endian; the header, a JSON object; the data, little endian, row-major. The header maps
     * each name to {"dtype": "F16", "shape": [2, 3], "data_offsets": [begin, end]}, offsets counted from the start of the data, plus
     * "__metadata__", which is ignored here. The tensors must cover the data without overlap and without holes.
     * [1] Safetensors, Format, https://github.com/huggingface/safetensors#format
     */

    /** The name of a checkpoint in one file. */
    static final String SINGLE = "model.safetensors";
    /** The name of the index of a sharded checkpoint. */
    static final String INDEX = "model.safetensors.index.json";

    private static final int LENGTH_BYTES = Long.BYTES;
    private static final int MAX_HEADER_BYTES = 100_000_000;

    /** Element types of the format, without those of less than a byte. Weights are F32, F16 or BF16. */
    public enum DType {
        /** Boolean in one byte. */
        BOOL(1),
        /** Unsigned 8-bit integer. */
        U8(1),
        /** Signed 8-bit integer. */
        I8(1),
        /** 8-bit float, 5 bits of exponent. */
        F8_E5M2(1),
        /** 8-bit float, 4 bits of exponent. */
        F8_E4M3(1),
        /** 8-bit power of two. */
        F8_E8M0(1),
        /** Signed 16-bit integer. */
        I16(2),
        /** Unsigned 16-bit integer. */
        U16(2),
        /** IEEE 754 half precision. */
        F16(2),
        /** The upper half of an F32. */
        BF16(2),
        /** Signed 32-bit integer. */
        I32(4),
        /** Unsigned 32-bit integer. */
        U32(4),
        /** IEEE 754 single precision. */
        F32(4),
        /** Two F32: a complex number. */
        C64(8),
        /** IEEE 754 double precision. */
        F64(8),
        /** Signed 64-bit integer. */
        I64(8),
        /** Unsigned 64-bit integer. */
        U64(8);

        private final int sizeBytes;

        DType(int sizeBytes) {
            this.sizeBytes = sizeBytes;
        }

        /**
         * The size of one element.
         *
         * @return 1, 2, 4 or 8 bytes
         */
        public int sizeBytes() {
            return sizeBytes;
        }
    }

    /**
     * One tensor. Immutable.
     *
     * @param name as in the file
     * @param dtype type of the elements
     * @param shape sizes of the dimensions, outermost first; empty for a scalar; shared, do not modify
     * @param data the elements in row-major order: direct, little endian, read only
     */
    public record Tensor(String name, DType dtype, long[] shape, ByteBuffer data) {

        /**
         * The elements in row-major order.
         *
         * @return direct, little endian, read only; a new view each time, at position 0
         */
        @Override
        public ByteBuffer data() {
            return data.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        }
    }

    /** Where a tensor lies: {@code begin} and {@code end} are positions in the file. */
    private record Entry(Path file, String name, DType dtype, long[] shape, long begin, long end) {
        String where() {
            return file + ": tensor " + name;
        }
    }

    private final Path path;
    private final Map<String, Entry> entries;

    private Safetensors(Path path, Map<String, Entry> entries) {
        this.path = path;
        this.entries = Collections.unmodifiableMap(entries);
    }

    /**
     * Opens a checkpoint.
     *
     * @param directoryOrFile a safetensors file, an index whose name ends in {@code .index.json}, or a directory with
     *     {@code model.safetensors} or else {@code model.safetensors.index.json}
     * @return its tensors
     * @throws IOException if a file is missing, cannot be read or is not as the format says; the message names the
     *     file, the tensor and the numbers
     */
    public static Safetensors open(Path directoryOrFile) throws IOException {
        Path path = Files.isDirectory(directoryOrFile) ? inDirectory(directoryOrFile) : directoryOrFile;
        requireFile(path.toString(), path);
        boolean sharded = path.getFileName().toString().endsWith(".index.json");
        return new Safetensors(path, sharded ? readShards(path) : readFile(path));
    }

    private static Path inDirectory(Path directory) {
        Path index = directory.resolve(INDEX);
        Path single = directory.resolve(SINGLE);
        return Files.exists(index) && !Files.exists(single) ? index : single;
    }

    /**
     * The file that was opened.
     *
     * @return the safetensors file, or the index of a sharded checkpoint
     */
    public Path path() {
        return path;
    }

    /**
     * The names of all tensors.
     *
     * @return in the order of their data in the file, or of the index; unmodifiable
     */
    public Set<String> names() {
        return entries.keySet();
    }

    /**
     * Maps a tensor into memory.
     *
     * @param name one of {@link #names()}
     * @return the tensor
     * @throws IllegalArgumentException if there is no tensor of that name
     * @throws IOException if the tensor is larger than 2^31 - 1 bytes, or its file cannot be read or has become shorter
     */
    public Tensor tensor(String name) throws IOException {
        Entry entry = entry(name);
        long sizeBytes = entry.end - entry.begin;
        if (sizeBytes > Integer.MAX_VALUE) {
            throw new IOException(entry.where() + ": size must be <= 2147483647 bytes, got " + sizeBytes);
        }
        try (FileChannel channel = FileChannel.open(entry.file, StandardOpenOption.READ)) {
            if (channel.size() < entry.end) {
                throw new IOException(entry.where() + ": expected a file of at least " + entry.end + " bytes, got "
                        + channel.size() + "; it has been changed since it was opened");
            }
            ByteBuffer data = channel.map(FileChannel.MapMode.READ_ONLY, entry.begin, sizeBytes);
            return new Tensor(name, entry.dtype, entry.shape, data);
        }
    }

    /** The file that holds a tensor. */
    Path file(String name) {
        return entry(name).file;
    }

    /** Every safetensors file, once. */
    List<Path> files() {
        return entries.values().stream().map(Entry::file).distinct().toList();
    }

    private Entry entry(String name) {
        Entry entry = entries.get(name);
        if (entry == null) {
            throw new IllegalArgumentException(
                    "name must be one of the " + entries.size() + " tensors of " + path + ", got " + name);
        }
        return entry;
    }

    private static Map<String, Entry> readShards(Path index) throws IOException {
        Json json = Json.parse(index.toString(), Files.readAllBytes(index));
        Json weightMap = Json.of(index + ": weight_map", json.get("weight_map"));
        Map<String, Map<String, Entry>> shards = new LinkedHashMap<>();
        Map<String, Entry> entries = new LinkedHashMap<>();
        for (Map.Entry<String, JsonNode> field : weightMap.node().properties()) {
            String name = field.getKey();
            String shard = weightMap.string(name, "");
            if (!shards.containsKey(shard)) {
                if (shard.isEmpty() || shard.contains("/") || shard.contains("\\")) {
                    throw weightMap.must(name, "be a file name without a directory");
                }
                Path file = index.resolveSibling(shard);
                requireFile(index.toString(), file);
                shards.put(shard, readFile(file));
            }
            Entry entry = shards.get(shard).get(name);
            if (entry == null) {
                throw new IOException(index + ": expected tensor " + name + " in " + shard + ", got a file without it");
            }
            entries.put(name, entry);
        }
        return entries;
    }

    private static void requireFile(String where, Path file) throws IOException {
        if (!Files.isRegularFile(file)) {
            throw new IOException(where + ": expected a file " + file.getFileName() + ", got "
                    + (Files.exists(file) ? "a directory" : "nothing"));
        }
    }

    private static Map<String, Entry> readFile(Path file) throws IOException {
        byte[] header;
        long fileBytes;
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            header = readHeader(file, channel);
            fileBytes = channel.size();
        }
        long dataStart = LENGTH_BYTES + header.length;
        List<Entry> tensors = new ArrayList<>();
        for (Map.Entry<String, JsonNode> field :
                Json.parse(file + ": header", header).node().properties()) {
            if (!field.getKey().equals("__metadata__")) {
                tensors.add(readEntry(file, field.getKey(), field.getValue(), dataStart, fileBytes));
            }
        }
        tensors.sort(Comparator.comparingLong(Entry::begin).thenComparingLong(Entry::end));

        Map<String, Entry> entries = new LinkedHashMap<>();
        long end = dataStart;
        String previous = "the header";
        for (Entry entry : tensors) {
            if (entry.begin != end) {
                throw new IOException(entry.where() + ": data_offsets must begin at " + (end - dataStart) + ", where "
                        + previous + " ends, got " + (entry.begin - dataStart));
            }
            entries.put(entry.name, entry);
            end = entry.end;
            previous = "tensor " + entry.name;
        }
        if (end != fileBytes) {
            throw new IOException(file + ": expected " + (end - dataStart) + " bytes of data, up to the end of "
                    + previous + ", got " + (fileBytes - dataStart));
        }
        return entries;
    }

    /** The header's bytes, read from the start of a file. */
    static byte[] readHeader(Path file) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            return readHeader(file, channel);
        }
    }

    private static byte[] readHeader(Path file, FileChannel channel) throws IOException {
        long fileBytes = channel.size();
        if (fileBytes < LENGTH_BYTES) {
            throw new IOException(file + ": expected at least 8 bytes, got " + fileBytes);
        }
        long headerBytes =
                read(file, channel, LENGTH_BYTES).order(ByteOrder.LITTLE_ENDIAN).getLong();
        if (Long.compareUnsigned(headerBytes, MAX_HEADER_BYTES) > 0) {
            throw new IOException(file + ": header length must be <= " + MAX_HEADER_BYTES + ", got "
                    + Long.toUnsignedString(headerBytes) + "; is it a safetensors file?");
        }
        if (headerBytes > fileBytes - LENGTH_BYTES) {
            throw new IOException(file + ": header length must be <= " + (fileBytes - LENGTH_BYTES)
                    + ", the rest of the file, got " + headerBytes + "; is the download complete?");
        }
        return read(file, channel, (int) headerBytes).array();
    }

    private static ByteBuffer read(Path file, FileChannel channel, int size) throws IOException {
        ByteBuffer buffer = ByteBuffer.allocate(size);
        while (buffer.hasRemaining()) {
            if (channel.read(buffer) < 0) {
                throw new EOFException(
                        file + ": expected " + buffer.remaining() + " more bytes, got the end of the file");
            }
        }
        return buffer.flip();
    }

    private static Entry readEntry(Path file, String name, JsonNode node, long dataStart, long fileBytes)
            throws IOException {
        Json json = Json.of(file + ": tensor " + name, node);
        DType dtype = Arrays.stream(DType.values())
                .filter(type -> type.name().equals(json.get("dtype").textValue()))
                .findFirst()
                .orElseThrow(() -> json.must("dtype", "be one of " + Arrays.toString(DType.values())));
        long[] shape = json.sizes("shape");
        long[] offsets = json.sizes("data_offsets");
        long dataBytes = fileBytes - dataStart;
        if (offsets.length != 2 || offsets[0] > offsets[1] || offsets[1] > dataBytes) {
            throw json.must(
                    "data_offsets",
                    "be [begin, end] with begin <= end <= " + dataBytes + ", the bytes of data in the file");
        }
        long sizeBytes = offsets[1] - offsets[0];
        if (!isSizeOf(shape, dtype, sizeBytes)) {
            throw new IOException(json.where() + ": data_offsets " + Arrays.toString(offsets) + " must span shape "
                    + Arrays.toString(shape) + " * " + dtype.sizeBytes + " bytes of " + dtype + ", got " + sizeBytes
                    + " bytes");
        }
        return new Entry(file, name, dtype, shape, dataStart + offsets[0], dataStart + offsets[1]);
    }

    private static boolean isSizeOf(long[] shape, DType dtype, long sizeBytes) {
        if (Arrays.stream(shape).anyMatch(size -> size == 0)) {
            return sizeBytes == 0;
        }
        long product = dtype.sizeBytes;
        for (long size : shape) {
            if (Math.multiplyHigh(product, size) != 0) { // beyond 64 bits, or negative already, beyond 63
                return false;
            }
            product *= size;
        }
        return product == sizeBytes;
    }
}
