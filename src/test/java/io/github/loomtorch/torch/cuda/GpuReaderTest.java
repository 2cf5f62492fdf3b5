package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GpuReaderTest {
    /** The second is on no machine, and most lack NVML. */
    @ParameterizedTest
    @ValueSource(strings = {"cpu", "cuda:99"})
    void knowsNothingWhereThereIsNoGpu(String device) {
        try (GpuReader reader = GpuReader.open(List.of(device))) {
            assertEquals(List.of(), reader.read());
        }
    }
}
