package io.github.loomtorch.torch.program;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.torch.natives.TensorScope;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.Method;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Linear layers on the CPU: the bits of a row do not depend on the rows beside it. */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class OneDnnLinearIT {
    private static final int ROWS = 400;
    private static final int[] COUNTS = {1, 2, 3, 5, 8, 13, 16, 17, 33, 64, 100, 128, 129, 200, 300, ROWS};

    private static TorchScriptProgram load(boolean int8, Dtype dtype, int threads) throws IOException {
        ModelOptions options = ModelOptions.builder()
                .device("cpu")
                .dtype(dtype)
                .int8Weights(int8)
                .threads(threads)
                .build();
        return new TorchScriptProgram(Gpt2Module.open(ModelDirectory.open(Path.of("models/tales")), false), options, 0);
    }

    /** {@code finish} has three linear layers, one of them fused with an activation and two with an addition. */
    @ParameterizedTest
    @CsvSource({"false, FLOAT32, 1", "false, FLOAT32, 0", "false, FLOAT32, 16", "true, FLOAT32, 1", "true, FLOAT32, 16"
    })
    void aRowHasTheSameBitsWhateverIsBesideIt(boolean int8, Dtype dtype, int threads) throws IOException {
        try (TorchScriptProgram program = load(int8, dtype, threads);
                TensorScope scope = new TensorScope()) {
            int hidden = program.config().hiddenSize();
            Tensor x = torch.randn(ROWS, hidden);
            Tensor attended = torch.randn(ROWS, hidden);
            attended.select(0, ROWS - 1).fill_(new Scalar(1e3)); // would change a scale for all rows
            Method finish = program.method("finish");
            Tensor together = finish(finish, x, attended, ROWS);
            for (int count : COUNTS) {
                assertTrue(finish(finish, x, attended, count).equal(together.narrow(0, 0, count)), count + " rows");
            }
            Tensor logits = program.head(x);
            for (int count : COUNTS) {
                assertTrue(program.head(x.narrow(0, 0, count)).equal(logits.narrow(0, 0, count)), count + " rows");
            }
        }
    }

    private static Tensor finish(Method finish, Tensor x, Tensor attended, int rows) {
        return finish.apply(new IValueVector(
                        new IValue(x.narrow(0, 0, rows)), new IValue(attended.narrow(0, 0, rows)), new IValue(1L)))
                .toTensor();
    }

    @Test
    void theResultIsThatOfAtensOperators() throws IOException {
        try (TorchScriptProgram program = load(false, Dtype.FLOAT32, 0);
                TorchScriptProgram aten = load(false, Dtype.FLOAT16, 0);
                TensorScope scope = new TensorScope()) {
            Tensor x = torch.randn(20, program.config().hiddenSize());
            Tensor exact = program.head(x);
            Tensor half = aten.head(x.to(torch.ScalarType.Half)).to(torch.ScalarType.Float);
            assertFalse(exact.equal(half));
            assertTrue(exact.allclose(half, 0.02, 0.05, false));
        }
    }
}
