package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.ReadOnlyBufferException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

@Timeout(20)
class CheckpointTensorTest {
    private static final int BEGIN = 3;
    private static final int BYTES = 48;

    @TempDir
    Path dir;

    private Path file;

    @BeforeEach
    void writeBytesThatCount() throws IOException {
        byte[] bytes = new byte[BEGIN + BYTES];
        for (int i = 0; i < BYTES; i++) {
            bytes[BEGIN + i] = (byte) i;
        }
        file = Files.write(dir.resolve("data"), bytes);
    }

    private CheckpointTensor view(DType dtype, long offset, long[] shape, long[] strides) throws IOException {
        return new CheckpointTensor(
                "x", dtype, shape, strides, new CheckpointTensor.Storage(file, BEGIN, BYTES), offset);
    }

    private static byte[] bytes(CheckpointTensor tensor) throws IOException {
        ByteBuffer data = tensor.data();
        byte[] bytes = new byte[data.remaining()];
        data.get(bytes);
        return bytes;
    }

    @Test
    void aContiguousViewIsMapped() throws IOException {
        CheckpointTensor tensor = view(DType.U8, 6, new long[] {2, 3}, new long[] {3, 1});
        assertArrayEquals(new byte[] {6, 7, 8, 9, 10, 11}, bytes(tensor));
        assertEquals(6, tensor.sizeBytes());
        ByteBuffer data = tensor.data();
        assertTrue(data.isDirect());
        assertEquals(ByteOrder.LITTLE_ENDIAN, data.order());
        assertThrows(ReadOnlyBufferException.class, () -> data.put(0, (byte) 1));
    }

    @Test
    void otherViewsAreMadeContiguous() throws IOException {
        assertArrayEquals(
                new byte[] {6, 9, 7, 10, 8, 11},
                bytes(view(DType.U8, 6, new long[] {2, 3}, new long[] {3, 1}).transposed()));
        assertArrayEquals(new byte[] {1, 3, 5}, bytes(view(DType.U8, 1, new long[] {3}, new long[] {2})));
        assertArrayEquals(
                new byte[] {0, 12, 4, 16, 1, 13, 5, 17},
                bytes(view(DType.U8, 0, new long[] {2, 2, 2}, new long[] {1, 4, 12})));
        assertArrayEquals(new byte[] {5, 5}, bytes(view(DType.U8, 5, new long[] {2}, new long[] {0})));
    }

    @ParameterizedTest
    @EnumSource(names = {"U8", "F16", "F32", "F64"})
    void elementsOfEverySizeAreCopiedWhole(DType dtype) throws IOException {
        int size = dtype.sizeBytes();
        byte[] bytes = bytes(view(dtype, 1, new long[] {2}, new long[] {2}));
        for (int i = 0; i < size; i++) {
            assertEquals(size + i, bytes[i]);
            assertEquals(3 * size + i, bytes[size + i]);
        }
    }

    @Test
    void stridesOfDimensionsOfOneDoNotMatter() throws IOException {
        assertArrayEquals(new byte[] {4, 5}, bytes(view(DType.U8, 4, new long[] {1, 2, 1}, new long[] {40, 1, 7})));
    }

    @Test
    void emptyTensorsAndScalars() throws IOException {
        assertEquals(0, bytes(view(DType.U8, 0, new long[] {0, 7}, new long[] {7, 1})).length);
        assertArrayEquals(new byte[] {9}, bytes(view(DType.U8, 9, new long[0], new long[0])));
    }

    @Test
    void firstRowsAndZeros() throws IOException {
        assertArrayEquals(
                new byte[] {0, 1, 2, 3},
                bytes(view(DType.U8, 0, new long[] {5, 2}, new long[] {2, 1}).firstRows(2)));
        assertArrayEquals(new byte[12], bytes(CheckpointTensor.zeros("z", DType.F32, new long[] {3})));
    }

    @Test
    void slicesOfTheFirstDimension() throws IOException {
        CheckpointTensor slice =
                view(DType.U8, 1, new long[] {3, 2, 2}, new long[] {4, 2, 1}).slice(2);
        assertArrayEquals(new long[] {2, 2}, slice.shape());
        assertArrayEquals(new byte[] {9, 10, 11, 12}, bytes(slice));
    }

    @Test
    void computedElements() throws IOException {
        CheckpointTensor tensor = CheckpointTensor.computed(
                "c",
                DType.F32,
                new long[] {2},
                buffer -> buffer.putFloat(4, 1.5f).putFloat(0, 2));
        assertEquals(2, tensor.data().getFloat());
        assertEquals(1.5f, tensor.data().getFloat(4));
        assertThrows(ReadOnlyBufferException.class, () -> tensor.data().putFloat(0));
        assertFalse(tensor.hasDataOf(CheckpointTensor.zeros("z", DType.F32, new long[] {2})));
    }

    @Test
    void knowsWhatIsContiguous() throws IOException {
        CheckpointTensor matrix = view(DType.U8, 6, new long[] {2, 3}, new long[] {3, 1});
        assertTrue(matrix.isContiguous());
        assertFalse(matrix.transposed().isContiguous());
        assertTrue(matrix.transposed().transposed().isContiguous());
        assertTrue(view(DType.U8, 6, new long[] {1, 3}, new long[] {9, 1}).isContiguous());
    }

    /** The storage begins at byte 3 of the file. */
    @Test
    void elementsAreAligned() throws IOException {
        CheckpointTensor odd = view(DType.F32, 1, new long[] {2}, new long[] {1});
        assertEquals(0, odd.data().alignmentOffset(0, 4));
        assertArrayEquals(new byte[] {4, 5, 6, 7, 8, 9, 10, 11}, bytes(odd));
    }

    @Test
    void comparesDataNotPlaces() throws IOException {
        CheckpointTensor row = view(DType.U8, 5, new long[] {1}, new long[] {1});
        assertTrue(row.hasDataOf(view(DType.U8, 5, new long[] {1}, new long[] {3})));
        assertFalse(row.hasDataOf(view(DType.U8, 6, new long[] {1}, new long[] {1})));
        assertFalse(row.hasDataOf(view(DType.I8, 5, new long[] {1}, new long[] {1})));
        assertFalse(row.hasDataOf(view(DType.U8, 5, new long[] {1, 1}, new long[] {1, 1})));
    }

    @ParameterizedTest
    @CsvSource({
        // offset, shape, strides, of a storage of 12 elements
        "9, 2 2, 2 1",
        "0, 13, 1",
        "-1, 1, 1",
        "12, 1, 1",
        "0, -1, 1",
        "0, 2, -1",
        "0, 13, 0", // more elements than the storage has
        "0, 2 2, 1",
        "0, 2, 12",
        "0, 4294967296 4294967296, 0 0",
        "0, 2, 9223372036854775807",
        "1, 2 2, 9223372036854775807 9223372036854775807",
        "9223372036854775807, 2, 1",
    })
    void refusesViewsOutsideTheStorage(long offset, String shape, String strides) {
        String message = assertThrows(IOException.class, () -> view(DType.F32, offset, longs(shape), longs(strides)))
                .getMessage();
        assertTrue(message.startsWith(file + ": tensor x: shape "), message);
        assertTrue(message.endsWith(" must lie in a storage of 12 elements of F32"), message);
    }

    private static long[] longs(String text) {
        return Arrays.stream(text.split(" ")).mapToLong(Long::parseLong).toArray();
    }
}
