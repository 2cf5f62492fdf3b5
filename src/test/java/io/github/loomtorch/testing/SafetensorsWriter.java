package io.github.loomtorch.testing;

import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.loomtorch.model.DType;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/** Writes small safetensors files, and broken ones. Not thread-safe. */
public final class SafetensorsWriter {
    private final Map<String, Object> header = new LinkedHashMap<>();
    private final ByteArrayOutputStream data = new ByteArrayOutputStream();

    /** Adds the {@code __metadata__} that Hugging Face's libraries write. */
    public SafetensorsWriter metadata(Map<String, String> metadata) {
        header.put("__metadata__", metadata);
        return this;
    }

    /** Adds a tensor; {@code values} are rounded to the dtype, which is F32, F16 or BF16. */
    public SafetensorsWriter add(String name, DType dtype, long[] shape, float... values) {
        ByteBuffer bytes =
                ByteBuffer.allocate(values.length * dtype.sizeBytes()).order(ByteOrder.LITTLE_ENDIAN);
        for (float value : values) {
            switch (dtype) {
                case F32 -> bytes.putFloat(value);
                case F16 -> bytes.putShort(Float.floatToFloat16(value));
                case BF16 -> bytes.putShort(floatToBfloat16(value));
                default -> throw new IllegalArgumentException("dtype must be F32, F16 or BF16, got " + dtype);
            }
        }
        return add(name, dtype.name(), shape, bytes.array());
    }

    /** Adds a tensor as it is, right or wrong. */
    public SafetensorsWriter add(String name, String dtype, long[] shape, byte[] bytes) {
        long[] offsets = {data.size(), data.size() + bytes.length};
        header.put(name, Map.of("dtype", dtype, "shape", shape, "data_offsets", offsets));
        data.writeBytes(bytes);
        return this;
    }

    /** Writes the file. */
    public Path write(Path file) throws IOException {
        return write(file, JsonMapper.builder().build().writeValueAsString(header), data.toByteArray());
    }

    /** Writes a file of any header, right or wrong, and data. */
    public static Path write(Path file, String header, byte[] data) throws IOException {
        byte[] headerBytes = header.getBytes(StandardCharsets.UTF_8);
        try (OutputStream out = Files.newOutputStream(file)) {
            out.write(ByteBuffer.allocate(8)
                    .order(ByteOrder.LITTLE_ENDIAN)
                    .putLong(headerBytes.length)
                    .array());
            out.write(headerBytes);
            out.write(data);
        }
        return file;
    }

    /** Rounds to nearest, ties to even; NaN is not expected. */
    private static short floatToBfloat16(float value) {
        int bits = Float.floatToRawIntBits(value);
        return (short) ((bits + 0x7FFF + ((bits >>> 16) & 1)) >>> 16);
    }
}
