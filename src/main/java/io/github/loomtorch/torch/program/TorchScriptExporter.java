package io.github.loomtorch.torch.program;

import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.model.StackedWeights;
import io.github.loomtorch.model.TemporaryFile;
import io.github.loomtorch.model.TorchScriptWriter;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.natives.TensorScope;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Writes {@code model.ts}, the TorchScript form of a GPT-2: one file with the program and its parameters, which any
 * libtorch loads. The parameters have the weights' dtype, F32 for F64. Only one parameter is in memory at a time.
 */
public final class TorchScriptExporter {
    private static final long PIECE_BYTES = 1 << 30; // a buffer has at most 2^31 - 1

    private TorchScriptExporter() {}

    /**
     * Writes {@code model.ts} anew, whatever is there.
     *
     * @param directory with weights
     * @return the file
     * @throws IOException if the weights are missing or bad, or the file cannot be written; a file that was there is
     *     then still there
     * @throws TorchException if libtorch cannot be loaded, or memory runs out
     */
    public static Path export(ModelDirectory directory) throws IOException {
        Gpt2Weights weights = directory.weights();
        Libtorch.load();
        TemporaryFile.write(directory.torchScript(), output -> write(weights, new TorchScriptWriter(output)));
        return directory.torchScript();
    }

    private static void write(Gpt2Weights weights, TorchScriptWriter writer) throws IOException {
        Gpt2Config config = weights.config();
        DType stored = weights.dtype();
        ScalarType dtype = Parameters.scalarType(stored);
        for (Map.Entry<String, long[]> parameter : StackedWeights.shapes(config).entrySet()) {
            String name = parameter.getKey();
            try (TensorScope scope = new TensorScope()) {
                List<Runnable> copies = new ArrayList<>();
                Tensor value = Parameters.allocate(weights, name, parameter.getValue(), dtype, copies);
                Parameters.fill(copies);
                writer.tensor(name, stored, parameter.getValue(), bytes(value));
            }
        }
        writer.finish(TorchScriptSource.archived(config));
    }

    /** The elements of a contiguous tensor, valid as long as the tensor. */
    private static List<ByteBuffer> bytes(Tensor tensor) {
        BytePointer memory = new BytePointer(tensor.data_ptr());
        long size = tensor.numel() * tensor.element_size();
        List<ByteBuffer> pieces = new ArrayList<>();
        for (long at = 0; at < size; at += PIECE_BYTES) {
            pieces.add(memory.position(at)
                    .capacity(at + Math.min(PIECE_BYTES, size - at))
                    .asByteBuffer());
        }
        return pieces;
    }
}
