package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * One tensor of a checkpoint: a view of a piece of a file. Its dtype and shape are known; its elements are mapped into
 * memory by {@link #data()} only. A tensor may also be computed by {@link #data()}, without a file. Immutable and
 * thread-safe.
 */
public final class CheckpointTensor {

    /** A piece of a file, in bytes, that is known to lie within the file. */
    record Storage(Path file, long begin, long size) {}

    private static final Storage NO_FILE = new Storage(Path.of("computed"), 0, Long.MAX_VALUE);

    private final String name;
    private final DType dtype;
    private final long[] shape;
    private final long[] strides; // in elements, >= 0
    private final Storage storage;
    private final long offset; // of the first element in the storage, in elements
    private final @Nullable Consumer<ByteBuffer> elements; // writes them to a buffer of zeros; null if a file has them

    /**
     * A view of a storage.
     *
     * @throws IOException if an element would lie outside the storage, or if there are more elements than the storage
     *     has, as in a view that repeats elements
     */
    CheckpointTensor(String name, DType dtype, long[] shape, long[] strides, Storage storage, long offset)
            throws IOException {
        this(name, dtype, shape, strides, storage, offset, null);
    }

    private CheckpointTensor(
            String name,
            DType dtype,
            long[] shape,
            long[] strides,
            Storage storage,
            long offset,
            @Nullable Consumer<ByteBuffer> elements)
            throws IOException {
        this.name = name;
        this.dtype = dtype;
        this.shape = shape;
        this.strides = strides;
        this.storage = storage;
        this.offset = offset;
        this.elements = elements;
        long available = storage.size / dtype.sizeBytes();
        if (!isWithin(available)) {
            throw new IOException(where() + ": shape " + Json.shorten(Arrays.toString(shape)) + " with strides "
                    + Json.shorten(Arrays.toString(strides)) + " from element " + offset + " must lie in a storage of "
                    + available
                    + " elements of " + dtype);
        }
    }

    private boolean isWithin(long available) {
        if (shape.length != strides.length || offset < 0) {
            return false;
        }
        boolean isEmpty = false;
        for (int i = 0; i < shape.length; i++) {
            if (shape[i] < 0 || strides[i] < 0) {
                return false;
            }
            isEmpty |= shape[i] == 0;
        }
        if (isEmpty) {
            return true;
        }
        long elements = 1;
        long last = offset;
        for (int i = 0; i < shape.length; i++) {
            // In this order no product or sum exceeds 63 bits.
            if (shape[i] > available / elements || strides[i] > 0 && shape[i] - 1 > available / strides[i]) {
                return false;
            }
            elements *= shape[i];
            last += (shape[i] - 1) * strides[i];
            if (last < 0 || last >= available) {
                return false;
            }
        }
        return last < available;
    }

    /** A tensor of zeros, which no file holds. */
    static CheckpointTensor zeros(String name, DType dtype, long[] shape) throws IOException {
        return computed(name, dtype, shape, buffer -> {});
    }

    /** A tensor that no file holds; {@code elements} writes them, row-major, to a little-endian buffer of zeros. */
    static CheckpointTensor computed(String name, DType dtype, long[] shape, Consumer<ByteBuffer> elements)
            throws IOException {
        return new CheckpointTensor(name, dtype, shape, rowMajor(shape), NO_FILE, 0, elements);
    }

    /** A tensor whose elements follow each other in row-major order and fill the storage. */
    static CheckpointTensor contiguous(String name, DType dtype, long[] shape, Storage storage) throws IOException {
        return new CheckpointTensor(name, dtype, shape, rowMajor(shape), storage, 0);
    }

    private static long[] rowMajor(long[] shape) {
        long[] strides = new long[shape.length];
        long stride = 1;
        for (int i = shape.length - 1; i >= 0; i--) {
            strides[i] = stride;
            stride *= Math.max(1, shape[i]);
        }
        return strides;
    }

    /**
     * The name.
     *
     * @return as it is in the file
     */
    public String name() {
        return name;
    }

    /**
     * The type of its elements.
     *
     * @return the stored type
     */
    public DType dtype() {
        return dtype;
    }

    /**
     * The size of each dimension.
     *
     * @return outermost first; shared, do not modify
     */
    public long[] shape() {
        return shape;
    }

    /** The file that holds the elements. */
    Path file() {
        return storage.file;
    }

    /** The size of all elements. */
    long sizeBytes() {
        return elements() * dtype.sizeBytes(); // at most the storage's
    }

    /** The file and the name, for messages. */
    String where() {
        return storage.file + ": tensor " + Json.shorten(name);
    }

    private long elements() {
        long elements = 1;
        for (long size : shape) {
            elements *= size;
        }
        return elements;
    }

    /**
     * A matrix with its dimensions exchanged. Nothing is copied.
     *
     * @return {@code [n, m]} of the elements of this {@code [m, n]}
     * @throws IllegalStateException if this has no two dimensions, or no file holds it
     */
    public CheckpointTensor transposed() {
        if (shape.length != 2) {
            throw new IllegalStateException("a tensor that is transposed must have 2 dimensions, got " + shape.length);
        }
        return view(new long[] {shape[1], shape[0]}, new long[] {strides[1], strides[0]}, offset);
    }

    /** The first rows of a matrix. */
    CheckpointTensor firstRows(long rows) {
        return view(new long[] {rows, shape[1]}, strides, offset);
    }

    /** One element of the first dimension. */
    CheckpointTensor slice(long index) {
        return view(
                Arrays.copyOfRange(shape, 1, shape.length),
                Arrays.copyOfRange(strides, 1, strides.length),
                offset + index * strides[0]);
    }

    private CheckpointTensor view(long[] viewShape, long[] viewStrides, long viewOffset) {
        if (elements != null) {
            throw new IllegalStateException("a view must be of a tensor in a file, got " + name);
        }
        try {
            return new CheckpointTensor(name, dtype, viewShape, viewStrides, storage, viewOffset);
        } catch (IOException e) {
            throw new IllegalArgumentException(e); // outside this tensor
        }
    }

    /**
     * Whether the elements follow each other in row-major order, so that {@link #data()} copies nothing. If they do
     * not, those of {@link #transposed()} may.
     *
     * @return true if they do
     */
    public boolean isContiguous() {
        long[] contiguous = rowMajor(shape);
        for (int i = 0; i < shape.length; i++) {
            if (shape[i] != 1 && strides[i] != contiguous[i]) {
                return false;
            }
        }
        return true;
    }

    /** Whether both have the same dtype, shape and bytes. */
    boolean hasDataOf(CheckpointTensor other) throws IOException {
        if (dtype != other.dtype || !Arrays.equals(shape, other.shape)) {
            return false;
        }
        boolean sameView = elements == other.elements
                && storage.equals(other.storage)
                && offset == other.offset
                && Arrays.equals(strides, other.strides);
        return sameView || data().equals(other.data());
    }

    /**
     * The elements. A {@linkplain #isContiguous contiguous} tensor is mapped: nothing is copied, the file must not be
     * changed while the buffer is in use, and the mapping lives until the buffer is garbage collected. Other tensors
     * are copied, as are those at an odd place in their file.
     *
     * @return a buffer of its own, direct, read-only, little endian, row-major; its address is a multiple of an
     *     element's size
     * @throws IOException if the tensor is larger than 2^31 - 1 bytes, or its file cannot be read or has become shorter
     */
    public ByteBuffer data() throws IOException {
        long bytes = sizeBytes();
        if (bytes > Integer.MAX_VALUE) {
            throw new IOException(where() + ": size must be <= 2147483647 bytes, got " + bytes);
        }
        if (bytes == 0 || elements != null) {
            ByteBuffer computed = ByteBuffer.allocateDirect((int) bytes).order(ByteOrder.LITTLE_ENDIAN);
            if (elements != null) {
                elements.accept(computed);
            }
            return computed.clear().asReadOnlyBuffer().order(ByteOrder.LITTLE_ENDIAN);
        }
        long last = 0;
        for (int i = 0; i < shape.length; i++) {
            last += (shape[i] - 1) * strides[i];
        }
        ByteBuffer span = map(offset * dtype.sizeBytes(), (last + 1) * dtype.sizeBytes());
        boolean isContiguous = isContiguous();
        if (isContiguous && span.alignmentOffset(0, dtype.sizeBytes()) == 0) {
            return span;
        }
        ByteBuffer copy = ByteBuffer.allocateDirect((int) bytes).order(ByteOrder.LITTLE_ENDIAN);
        if (isContiguous) {
            copy.put(span);
        } else {
            copy(span, 0, 0, copy);
        }
        return copy.flip().asReadOnlyBuffer().order(ByteOrder.LITTLE_ENDIAN);
    }

    private ByteBuffer map(long begin, long size) throws IOException {
        if (size > Integer.MAX_VALUE) {
            throw new IOException(where() + ": elements must span <= 2147483647 bytes of the file, got " + size);
        }
        try (FileChannel channel = FileChannel.open(storage.file, StandardOpenOption.READ)) {
            long end = storage.begin + begin + size;
            if (channel.size() < end) {
                throw new IOException(where() + ": expected a file of at least " + end + " bytes, got " + channel.size()
                        + "; it has been changed since it was opened");
            }
            return channel.map(FileChannel.MapMode.READ_ONLY, storage.begin + begin, size)
                    .order(ByteOrder.LITTLE_ENDIAN);
        }
    }

    /** Appends the elements of the dimensions from {@code dimension} on, which begin at {@code index}, to a buffer. */
    private void copy(ByteBuffer from, int dimension, long index, ByteBuffer to) {
        if (dimension < shape.length - 1) {
            for (long i = 0; i < shape[dimension]; i++) {
                copy(from, dimension + 1, index + i * strides[dimension], to);
            }
            return;
        }
        int at = (int) index * dtype.sizeBytes();
        int step = (int) strides[dimension] * dtype.sizeBytes();
        for (int i = 0; i < shape[dimension]; i++, at += step) {
            switch (dtype.sizeBytes()) {
                case 1 -> to.put(from.get(at));
                case 2 -> to.putShort(from.getShort(at));
                case 4 -> to.putInt(from.getInt(at));
                default -> to.putLong(from.getLong(at));
            }
        }
    }
}
