package io.github.loomtorch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.options.SchedulerOptions;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** What the builder refuses before it loads a model. */
class TextGeneratorTest {
    private final TextGenerator.Builder builder = TextGenerator.builder(Path.of("nowhere"));

    private void assertRefused(String message) {
        assertEquals(
                message,
                assertThrows(IllegalArgumentException.class, builder::build).getMessage());
    }

    @Test
    void refusesToRunNowhere() {
        builder.devices();
        assertRefused("devices must name at least one, got none");
    }

    @Test
    void refusesAnyBadDevice() {
        builder.devices("cpu", "gpu");
        assertRefused("device must be auto, cpu, cuda or cuda:n, got gpu");
    }

    @Test
    void refusesSeveralDevicesWithASchedulerOfOne() {
        builder.scheduler(SchedulerOptions.naive(3)).devices("cpu", "cpu");
        assertRefused("scheduler must be continuous to run on several devices, got Naive[batchSize=3] for 2 devices");
    }
}
