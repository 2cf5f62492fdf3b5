package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TorchOptionsTest {
    @ParameterizedTest
    @ValueSource(strings = {"auto", "cpu", "cuda", "cuda:0", "cuda:15"})
    void devicesThatMayBeThere(String device) {
        assertEquals(device, new TorchOptions(device, Dtype.AUTO, 1).device());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:0000", "cuda:0 "})
    void devicesThatAreNone(String device) {
        assertRefused(
                "device must be auto, cpu, cuda or cuda:n, got " + device,
                () -> new TorchOptions(device, Dtype.AUTO, 1));
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1025, -1})
    void batchSizesOutOfRange(int maxBatchSize) {
        assertRefused(
                "maxBatchSize must be in [1, 1024], got " + maxBatchSize,
                () -> new TorchOptions("cpu", Dtype.AUTO, maxBatchSize));
    }

    @ParameterizedTest
    @ValueSource(ints = {8, 16, 64, 256})
    void pageSizesThatAreFine(int pageSize) {
        assertEquals(pageSize, new TorchOptions("cpu", Dtype.AUTO, 1, pageSize, 0.9, true, false, false).pageSize());
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 4, 12, 512, -16, Integer.MIN_VALUE})
    void pageSizesThatAreNone(int pageSize) {
        assertRefused(
                "pageSize must be a power of two in [8, 256], got " + pageSize,
                () -> new TorchOptions("cpu", Dtype.AUTO, 1, pageSize, 0.9, true, false, false));
    }

    @ParameterizedTest
    @ValueSource(doubles = {0, 1.5, Double.NaN})
    void cacheFractionsOutOfRange(double fraction) {
        assertRefused(
                "kvCacheFraction must be in (0, 1], got " + fraction,
                () -> new TorchOptions("cpu", Dtype.AUTO, 1, 16, fraction, true, false, false));
    }

    @Test
    void theUsualOptions() {
        assertEquals(
                new TorchOptions("cpu", Dtype.FLOAT32, 4, 16, 0.9, true, false, false),
                new TorchOptions("cpu", Dtype.FLOAT32, 4));
    }

    private static void assertRefused(String message, Executable options) {
        assertEquals(
                message, assertThrows(IllegalArgumentException.class, options).getMessage());
    }
}
