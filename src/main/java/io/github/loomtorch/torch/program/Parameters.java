package io.github.loomtorch.torch.program;

import io.github.loomtorch.model.CheckpointTensor;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.StackedWeights;
import io.github.loomtorch.torch.natives.TensorScope;
import java.io.IOException;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Makes the program's {@link StackedWeights parameters}. Elements are copied once, to where they stay. */
final class Parameters {
    private static final Map<DType, ScalarType> DTYPES = new EnumMap<>(Map.of(
            DType.F32, ScalarType.Float,
            DType.F16, ScalarType.Half,
            DType.BF16, ScalarType.BFloat16,
            DType.F64, ScalarType.Double));

    private static final long PIECE_ELEMENTS = 1 << 22;

    private Parameters() {}

    /**
     * Allocates one parameter, for {@link #fill} to fill.
     *
     * @param copies what fills it is added to these
     * @return [shape] dtype, on the CPU, owned by the caller's scope
     * @throws IOException if the file cannot be read
     */
    static Tensor allocate(Gpt2Weights weights, String name, long[] shape, ScalarType dtype, List<Runnable> copies)
            throws IOException {
        Tensor parameter = torch.empty(shape, new TensorOptions(dtype), null);
        if (StackedWeights.isOfLayers(name)) {
            for (int layer = 0; layer < shape[0]; layer++) {
                CheckpointTensor weight = weights.get(StackedWeights.checkpointName(name, layer));
                boolean isMatrix = shape.length == 3;
                boolean outFirst = isMatrix && !weight.isContiguous(); // as the parameter, not [in, out]
                Mapped stored = Mapped.of(outFirst ? weight.transposed() : weight);
                Tensor target = parameter.select(0, layer);
                copies.add(() -> stored.copy(stored.tensor, isMatrix && !outFirst, target));
            }
            return parameter;
        }
        Mapped stored = Mapped.of(weights.get(StackedWeights.checkpointName(name, 0)));
        long rows = stored.tensor.size(0);
        addCopies(copies, stored, parameter.narrow(0, 0, rows));
        parameter.narrow(0, rows, shape[0] - rows).zero_(); // the padding of the vocabulary
        return parameter;
    }

    /** Runs the copies of as many parameters as possible at once, on all processors. */
    static void fill(List<Runnable> copies) {
        copies.parallelStream().forEach(Runnable::run);
    }

    /** Adds copies of pieces of rows, which can run at once. */
    private static void addCopies(List<Runnable> copies, Mapped stored, Tensor target) {
        long rows = stored.tensor.size(0);
        long step = Math.max(1, PIECE_ELEMENTS * rows / Math.max(1, stored.tensor.numel()));
        for (long row = 0; row < rows; row += step) {
            long count = Math.min(step, rows - row);
            Tensor from = stored.tensor.narrow(0, row, count);
            Tensor to = target.narrow(0, row, count);
            copies.add(() -> stored.copy(from, false, to));
        }
    }

    /**
     * The elements of a stored tensor in memory. The tensor does not keep the buffer, and the memory is unmapped when
     * the buffer is garbage collected: so whatever reads the tensor holds both.
     *
     * @param tensor owned by the caller's scope
     */
    private record Mapped(ByteBuffer buffer, Tensor tensor) {
        static Mapped of(CheckpointTensor stored) throws IOException {
            ByteBuffer buffer = stored.data();
            TensorOptions options = new TensorOptions(scalarType(stored.dtype()));
            return new Mapped(buffer, torch.from_blob(new BytePointer(buffer), stored.shape(), options));
        }

        /** Copies a part of the tensor. */
        void copy(Tensor part, boolean transposed, Tensor target) {
            torch.set_num_threads(1); // the copies themselves are parallel
            try (TensorScope scope = new TensorScope()) {
                // Converted first: libtorch transposes fast only between equal types.
                Tensor converted = part.to(target.dtype().toScalarType());
                target.copy_(transposed ? converted.t() : converted);
            } finally {
                Reference.reachabilityFence(buffer);
            }
        }
    }

    static ScalarType scalarType(DType dtype) {
        return Objects.requireNonNull(DTYPES.get(dtype));
    }
}
