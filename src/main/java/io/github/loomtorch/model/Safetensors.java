package io.github.loomtorch.model;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The safetensors format. Reading a file reads and checks its header only. */
final class Safetensors {
    /*
     * A file is: u64 length of the header, little endian; the header, a JSON object; the data, little endian, row-major. The header maps
     * each name to {"dtype": "F16", "shape": [2, 3], "data_offsets": [begin, end]}, offsets counted from the start of the data, plus
     * "__metadata__", which is ignored here. The tensors must cover the data without overlap and without holes.
     * [1] Safetensors, Format, https://github.com/huggingface/safetensors#format
     */

    private static final int LENGTH_BYTES = Long.BYTES;
    private static final int ALIGNMENT = 8; // of the data, by padding the header

    private record Entry(String name, DType dtype, long[] shape, long begin, long end) {}

    private Safetensors() {}

    /** Reads a file's tensors, in the order of their data. */
    static Map<String, CheckpointTensor> read(Path file) throws IOException {
        byte[] header;
        long fileBytes;
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            header = readHeader(file, channel);
            fileBytes = channel.size();
        }
        long dataStart = (long) LENGTH_BYTES + header.length;
        List<Entry> entries = new ArrayList<>();
        for (Map.Entry<String, JsonNode> field :
                Json.parse(file + ": header", header).node().properties()) {
            if (!field.getKey().equals("__metadata__")) {
                entries.add(readEntry(file, field.getKey(), field.getValue(), fileBytes - dataStart));
            }
        }
        entries.sort(Comparator.comparingLong(Entry::begin).thenComparingLong(Entry::end));

        Map<String, CheckpointTensor> tensors = new LinkedHashMap<>();
        long end = 0;
        String previous = "the header";
        for (Entry entry : entries) {
            if (entry.begin > end) {
                throw new IOException(file + ": header: expected a tensor for bytes [" + end + ", " + entry.begin
                        + ") of the data, before tensor " + Json.shorten(entry.name) + ", got none");
            }
            if (entry.begin < end) {
                throw new IOException(where(file, entry.name) + ": data_offsets must begin at " + end + ", where "
                        + previous + " ends, got " + entry.begin);
            }
            CheckpointTensor.Storage storage =
                    new CheckpointTensor.Storage(file, dataStart + entry.begin, entry.end - entry.begin);
            tensors.put(entry.name, CheckpointTensor.contiguous(entry.name, entry.dtype, entry.shape, storage));
            end = entry.end;
            previous = "tensor " + Json.shorten(entry.name);
        }
        if (end != fileBytes - dataStart) {
            throw new IOException(file + ": expected " + end + " bytes of data, up to the end of " + previous + ", got "
                    + (fileBytes - dataStart));
        }
        return tensors;
    }

    private static String where(Path file, String tensor) {
        return file + ": tensor " + Json.shorten(tensor);
    }

    private static byte[] readHeader(Path file, FileChannel channel) throws IOException {
        long fileBytes = channel.size();
        if (fileBytes < LENGTH_BYTES) {
            throw new IOException(file + ": expected at least 8 bytes, got " + fileBytes);
        }
        long headerBytes = ModelFiles.read(file, channel, 0, LENGTH_BYTES).getLong();
        if (Long.compareUnsigned(headerBytes, Json.MAX_BYTES) > 0) {
            throw new IOException(file + ": header length must be <= " + Json.MAX_BYTES + ", got "
                    + Long.toUnsignedString(headerBytes) + "; is it a safetensors file?");
        }
        if (headerBytes > fileBytes - LENGTH_BYTES) {
            throw new IOException(file + ": header length must be <= " + (fileBytes - LENGTH_BYTES)
                    + ", the rest of the file, got " + headerBytes + "; is the download complete?");
        }
        return ModelFiles.read(file, channel, LENGTH_BYTES, (int) headerBytes).array();
    }

    private static Entry readEntry(Path file, String name, JsonNode node, long dataBytes) throws IOException {
        Json json = Json.of(where(file, name), node);
        DType dtype = Arrays.stream(DType.values())
                .filter(type -> type.name().equals(json.get("dtype").textValue()))
                .findFirst()
                .orElseThrow(() -> json.must("dtype", "be one of " + Arrays.toString(DType.values())));
        long[] shape = json.sizes("shape");
        long[] offsets = json.sizes("data_offsets");
        if (offsets.length != 2 || offsets[0] > offsets[1] || offsets[1] > dataBytes) {
            throw json.must(
                    "data_offsets",
                    "be [begin, end] with begin <= end <= " + dataBytes + ", the bytes of data in the file");
        }
        long sizeBytes = offsets[1] - offsets[0];
        if (!isSizeOf(shape, dtype, sizeBytes)) {
            throw new IOException(json.where() + ": data_offsets " + Arrays.toString(offsets) + " must span shape "
                    + Json.shorten(Arrays.toString(shape)) + " * " + dtype.sizeBytes() + " bytes of " + dtype + ", got "
                    + sizeBytes + " bytes");
        }
        return new Entry(name, dtype, shape, offsets[0], offsets[1]);
    }

    private static boolean isSizeOf(long[] shape, DType dtype, long sizeBytes) {
        if (Arrays.stream(shape).anyMatch(size -> size == 0)) {
            return sizeBytes == 0;
        }
        long product = dtype.sizeBytes();
        for (long size : shape) {
            if (Math.multiplyHigh(product, size) != 0) { // beyond 64 bits, or negative already, beyond 63
                return false;
            }
            product *= size;
        }
        return product == sizeBytes;
    }

    /**
     * Writes a file as Hugging Face's library does.
     *
     * @param output takes the file from its start to its end
     * @param tensors by the names that they get, in the order of the file
     * @return the size of the file
     */
    static long write(TemporaryFile.Output output, Map<String, CheckpointTensor> tensors) throws IOException {
        Map<String, Object> header = new LinkedHashMap<>();
        header.put("__metadata__", Map.of("format", "pt"));
        long end = 0;
        for (Map.Entry<String, CheckpointTensor> named : tensors.entrySet()) {
            CheckpointTensor tensor = named.getValue();
            long begin = end;
            end += tensor.sizeBytes();
            Map<String, Object> entry = new LinkedHashMap<>();
            entry.put("dtype", tensor.dtype().name());
            entry.put("shape", tensor.shape());
            entry.put("data_offsets", new long[] {begin, end});
            header.put(named.getKey(), entry);
        }
        String json = JsonMapper.builder().build().writeValueAsString(header);
        byte[] padded = (json + " ".repeat(-json.length() & ALIGNMENT - 1)).getBytes(StandardCharsets.UTF_8);
        ByteBuffer length = ByteBuffer.allocate(LENGTH_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        output.write(length.putLong(padded.length).flip(), 0);
        output.write(ByteBuffer.wrap(padded), LENGTH_BYTES);
        long position = (long) LENGTH_BYTES + padded.length;
        for (CheckpointTensor tensor : tensors.values()) {
            output.write(tensor.data(), position);
            position += tensor.sizeBytes();
        }
        return position;
    }
}
