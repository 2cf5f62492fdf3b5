package io.github.loomtorch.options;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ModelOptionsTest {
    @ParameterizedTest
    @ValueSource(strings = {"auto", "cpu", "cuda", "cuda:0", "cuda:15"})
    void devicesThatMayBeThere(String device) {
        assertEquals(device, ModelOptions.builder().device(device).build().device());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:0000", "cuda:0 "})
    void devicesThatAreNone(String device) {
        assertRefused(
                "device must be auto, cpu, cuda or cuda:n, got " + device,
                () -> ModelOptions.builder().device(device).build());
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1025, -1})
    void batchSizesOutOfRange(int maxBatchSize) {
        assertRefused(
                "maxBatchSize must be in [1, 1024], got " + maxBatchSize,
                () -> ModelOptions.builder().maxBatchSize(maxBatchSize).build());
    }

    @ParameterizedTest
    @ValueSource(ints = {8, 16, 64, 256})
    void pageSizesThatAreFine(int pageSize) {
        assertEquals(pageSize, ModelOptions.builder().pageSize(pageSize).build().pageSize());
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 4, 12, 512, -16, Integer.MIN_VALUE})
    void pageSizesThatAreNone(int pageSize) {
        assertRefused(
                "pageSize must be a power of two in [8, 256], got " + pageSize,
                () -> ModelOptions.builder().pageSize(pageSize).build());
    }

    @ParameterizedTest
    @ValueSource(doubles = {0, 1.5, Double.NaN})
    void cacheFractionsOutOfRange(double fraction) {
        assertRefused(
                "kvCacheFraction must be in (0, 1], got " + fraction,
                () -> ModelOptions.builder().kvCacheFraction(fraction).build());
    }

    @ParameterizedTest
    @ValueSource(ints = {-1, 1025})
    void threadsOutOfRange(int threads) {
        assertRefused(
                "threads must be in [0, 1024], got " + threads,
                () -> ModelOptions.builder().threads(threads).build());
    }

    @Test
    void aBuilderStartsFromOtherOptions() {
        ModelOptions options = new ModelOptions(
                "cuda:1", Dtype.BFLOAT16, 4, 32, 0.5, false, true, true, 3, true, Optional.of(Path.of("cache")));
        assertEquals(options, options.toBuilder().build());
        assertEquals(5, options.toBuilder().maxBatchSize(5).build().maxBatchSize());
    }

    private static void assertRefused(String message, Executable options) {
        assertEquals(
                message, assertThrows(IllegalArgumentException.class, options).getMessage());
    }
}
