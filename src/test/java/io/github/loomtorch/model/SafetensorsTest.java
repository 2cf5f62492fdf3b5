package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.SafetensorsWriter;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.ReadOnlyBufferException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(30)
class SafetensorsTest {
    @TempDir
    Path dir;

    @Test
    void readsNamesShapesTypesAndValues() throws IOException {
        Path file = new SafetensorsWriter()
                .metadata(Map.of("format", "pt"))
                .add("a", DType.F32, new long[] {2, 3}, 1, 2, 3, 4, 5, -6.5f)
                .add("b", DType.F16, new long[] {2}, 0.5f, -2)
                .add("scalar", DType.BF16, new long[] {}, 3)
                .add("empty", DType.F32, new long[] {0, 7})
                .add("ids", "I64", new long[] {1}, new byte[] {7, 0, 0, 0, 0, 0, 0, 0})
                .write(dir.resolve("model.safetensors"));

        Checkpoint tensors = Checkpoint.open(file);

        assertEquals(List.of("a", "b", "scalar", "empty", "ids"), List.copyOf(tensors.names()));
        CheckpointTensor a = tensors.tensor("a");
        assertEquals("a", a.name());
        assertEquals(DType.F32, a.dtype());
        assertArrayEquals(new long[] {2, 3}, a.shape());
        assertEquals(24, a.data().remaining());
        assertEquals(-6.5f, a.data().getFloat(20));
        assertEquals(0.5f, Float.float16ToFloat(tensors.tensor("b").data().getShort(0)));
        assertEquals(3f, Float.intBitsToFloat(tensors.tensor("scalar").data().getShort(0) << 16));
        assertEquals(0, tensors.tensor("scalar").shape().length);
        assertEquals(0, tensors.tensor("empty").data().remaining());
        assertEquals(7, tensors.tensor("ids").data().getLong(0));
    }

    @Test
    void dataIsADirectReadOnlyLittleEndianViewOfItsOwn() throws IOException {
        Path file =
                new SafetensorsWriter().add("a", DType.F32, new long[] {1}, 1).write(dir.resolve("a.safetensors"));
        CheckpointTensor tensor = Checkpoint.open(file).tensor("a");
        ByteBuffer data = tensor.data();
        assertTrue(data.isDirect());
        assertEquals(ByteOrder.LITTLE_ENDIAN, data.order());
        assertThrows(ReadOnlyBufferException.class, () -> data.put(0, (byte) 1));
        data.getFloat();
        assertEquals(0, tensor.data().position());
    }

    @Test
    void acceptsAHeaderPaddedWithSpacesAndAFileWithoutTensors() throws IOException {
        assertEquals(
                1,
                Checkpoint.open(file("{\"a\":" + tensor("U8", "[2]", "[0,2]") + "}     ", 2))
                        .names()
                        .size());
        assertEquals(0, Checkpoint.open(file("{}", 0)).names().size());
    }

    @Test
    void ordersTensorsByTheirDataWhateverTheHeadersOrder() throws IOException {
        String header = "{\"b\":" + tensor("U8", "[2]", "[4,6]") + ",\"a\":" + tensor("U8", "[4]", "[0,4]")
                + ",\"empty\":" + tensor("U8", "[0]", "[0,0]") + "}";
        assertEquals(
                List.of("empty", "a", "b"),
                List.copyOf(Checkpoint.open(file(header, 6)).names()));
    }

    @Test
    void opensTheSingleFileOfADirectoryBeforeItsIndex() throws IOException {
        new SafetensorsWriter().add("a", DType.F32, new long[] {1}, 1).write(dir.resolve("model.safetensors"));
        Files.writeString(dir.resolve("model.safetensors.index.json"), "not read");
        assertEquals(dir.resolve("model.safetensors"), Checkpoint.open(dir).path());
    }

    @Test
    void readsAShardedCheckpoint() throws IOException {
        shards(
                "{\"metadata\":{\"total_size\":12},\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\",\"c\":\"1.safetensors\"}}");
        Checkpoint tensors = Checkpoint.open(dir);
        assertEquals(List.of("a", "b", "c"), List.copyOf(tensors.names()));
        assertEquals(2, tensors.tensor("b").data().getFloat(0));
        assertEquals(3, tensors.tensor("c").data().getFloat(0));
        assertEquals(dir.resolve("model.safetensors.index.json"), tensors.path());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{\"weight_map\":{\"a\":\"3.safetensors\"}} | : expected a file 3.safetensors, got nothing",
                "{\"weight_map\":{\"b\":\"1.safetensors\"}} | : expected tensor b in 1.safetensors, got a file without it",
                "{\"weight_map\":{\"a\":1}} | : weight_map: a must be a string, got 1",
                "{\"weight_map\":{\"a\":\"../1.safetensors\"}} | : file name must have no directory, got \"../1.safetensors\"",
                "{\"weight_map\":[]} | : weight_map: expected a JSON object, got []",
                "{} | : weight_map: expected a JSON object, got nothing",
            })
    void refusesABadIndex(String index, String message) throws IOException {
        shards(index);
        assertFails(dir.resolve("model.safetensors.index.json") + message, dir);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                // data bytes | header | message after the file's name
                "8 | [1] | : header: expected a JSON object, got [1]",
                "8 | {\"a\" 1} | : header line 1 column 6: expected a JSON object, got bad JSON: Unexpected character ('1' (code 49)):"
                        + " was expecting a colon to separate field name and value",
                "8 | {\"a\":3} | : tensor a: expected a JSON object, got 3",
                "8 | {\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}} | : tensor a: dtype must be one of [BOOL, U8, I8, F8_E5M2, F8_E4M3,"
                        + " F8_E8M0, I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64], got nothing",
                "8 | {\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,8]}} | : tensor a: dtype must be one of [BOOL, U8, I8,"
                        + " F8_E5M2, F8_E4M3, F8_E8M0, I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64], got \"F4\"",
                "8 | {\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}} | : tensor a: shape must be an array of 64-bit integers >= 0,"
                        + " got nothing",
                "8 | {\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}} | : tensor a: shape must be an array of 64-bit"
                        + " integers >= 0, got [-2]",
                "8 | {\"a\":{\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]}} | : tensor a: shape must be an array of 64-bit"
                        + " integers >= 0, got [2.5]",
                "8 | {\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}} | : tensor a: shape must be an array of 64-bit"
                        + " integers >= 0, got 2",
                "8 | {\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,99999999999999999999]}} | : tensor a: data_offsets must"
                        + " be an array of 64-bit integers >= 0, got [0,99999999999999999999]",
                "8 | {\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8]}} | : tensor a: data_offsets must be [begin, end] with"
                        + " begin <= end <= 8, the bytes of data in the file, got [8]",
                "8 | {\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}} | : tensor a: data_offsets must be [begin, end] with"
                        + " begin <= end <= 8, the bytes of data in the file, got [8,0]",
                "8 | {\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}} | : tensor a: data_offsets must be [begin, end] with"
                        + " begin <= end <= 8, the bytes of data in the file, got [0,12]",
                "8 | {\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}} | : tensor a: data_offsets [0, 8] must span shape [3]"
                        + " * 4 bytes of F32, got 8 bytes",
                // 2^32 * 2^32 * 4 wraps to 0, 2^61 * 4 to a negative number
                "8 | {\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}} | : tensor a: data_offsets [0, 0]"
                        + " must span shape [4294967296, 4294967296] * 4 bytes of F32, got 0 bytes",
                "8 | {\"a\":{\"dtype\":\"F32\",\"shape\":[2305843009213693952],\"data_offsets\":[0,8]}} | : tensor a: data_offsets [0, 8]"
                        + " must span shape [2305843009213693952] * 4 bytes of F32, got 8 bytes",
                "8 | {\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}} | : header: expected a tensor for bytes [0, 4) of the data,"
                        + " before tensor a, got none",
                "8 | {\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}} | : expected 4 bytes of data, up to the end of tensor a,"
                        + " got 8",
                "8 | {\"b\":{\"dtype\":\"U8\",\"shape\":[6],\"data_offsets\":[2,8]},\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}"
                        + " | : tensor b: data_offsets must begin at 4, where tensor a ends, got 2",
                "8 | {\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[6,8]},\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}"
                        + " | : header: expected a tensor for bytes [4, 6) of the data, before tensor b, got none",
                // of a name twice the last counts
                "8 | {\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}"
                        + " | : header: expected a tensor for bytes [0, 4) of the data, before tensor a, got none",
            })
    void refusesABadHeader(int dataBytes, String header, String message) throws IOException {
        Path file = file(header, dataBytes);
        assertFails(file + message, file);
    }

    @Test
    void refusesAFileWithoutRoomForItsHeader() throws IOException {
        Path file = dir.resolve("model.safetensors");
        Files.write(file, new byte[3]);
        assertFails(file + ": expected at least 8 bytes, got 3", dir);
        Files.write(file, new byte[] {100, 0, 0, 0, 0, 0, 0, 0, '{', '}'});
        assertFails(
                file + ": header length must be <= 2, the rest of the file, got 100; is the download complete?", dir);
        Files.write(file, new byte[] {-1, -1, -1, -1, -1, -1, -1, -1, '{', '}'});
        assertFails(
                file + ": header length must be <= 4194304, got 18446744073709551615; is it a safetensors file?", dir);
        Files.write(file, new byte[8]);
        assertFails(file + ": header: expected a JSON object, got nothing", dir);
    }

    @Test
    void refusesAMissingFile() {
        assertFails(
                dir
                        + ": expected one of [model.safetensors, model.safetensors.index.json, pytorch_model.bin,"
                        + " pytorch_model.bin.index.json], got a directory without them",
                dir);
        assertFails(dir.resolve("x.bin") + ": expected a file, got nothing", dir.resolve("x.bin"));
    }

    @Test
    void readsATensorBeyondTwoGigabytesAndRefusesOneThatIsItselfLarger() throws IOException {
        long large = 3L << 30;
        Path file = file(
                "{\"large\":" + tensor("U8", "[" + large + "]", "[0," + large + "]") + ",\"last\":"
                        + tensor("U8", "[1]", "[" + large + "," + (large + 1) + "]") + "}",
                0);
        try (RandomAccessFile sparse = new RandomAccessFile(file.toFile(), "rw")) {
            sparse.seek(sparse.length() + large);
            sparse.write(42);
        }

        Checkpoint tensors = Checkpoint.open(file);

        assertEquals(42, tensors.tensor("last").data().get(0));
        IOException e =
                assertThrows(IOException.class, () -> tensors.tensor("large").data());
        assertEquals(file + ": tensor large: size must be <= 2147483647 bytes, got 3221225472", e.getMessage());
    }

    @Test
    void refusesANameThatIsNotThere() throws IOException {
        Path file =
                new SafetensorsWriter().add("a", DType.F32, new long[] {1}, 1).write(dir.resolve("a.safetensors"));
        Checkpoint tensors = Checkpoint.open(file);
        IllegalArgumentException e = assertThrows(IllegalArgumentException.class, () -> tensors.tensor("b"));
        assertEquals("name must be one of the 1 tensors of " + file + ", got b", e.getMessage());
    }

    @Test
    void refusesATensorWhoseFileHasBecomeShorter() throws IOException {
        Path file = file("{\"a\":" + tensor("U8", "[8]", "[0,8]") + "}", 8);
        Checkpoint tensors = Checkpoint.open(file);
        long size = Files.size(file);
        file("{\"a\":" + tensor("U8", "[8]", "[0,8]") + "}", 7);
        IOException e =
                assertThrows(IOException.class, () -> tensors.tensor("a").data());
        assertEquals(
                file + ": tensor a: expected a file of at least " + size + " bytes, got " + (size - 1)
                        + "; it has been changed since it was opened",
                e.getMessage());
    }

    private Path file(String header, int dataBytes) throws IOException {
        return SafetensorsWriter.write(dir.resolve("model.safetensors"), header, new byte[dataBytes]);
    }

    private static String tensor(String dtype, String shape, String offsets) {
        return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
    }

    private void shards(String index) throws IOException {
        new SafetensorsWriter()
                .add("a", DType.F32, new long[] {1}, 1)
                .add("c", DType.F32, new long[] {1}, 3)
                .write(dir.resolve("1.safetensors"));
        new SafetensorsWriter().add("b", DType.F32, new long[] {1}, 2).write(dir.resolve("2.safetensors"));
        Files.writeString(dir.resolve("model.safetensors.index.json"), index);
    }

    private static void assertFails(String message, Path path) {
        assertEquals(
                message,
                assertThrows(IOException.class, () -> Checkpoint.open(path)).getMessage());
    }
}
