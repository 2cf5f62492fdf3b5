package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.OperatingSystemMXBean;
import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.SamplingParams;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What a model on the CPU costs when there is nothing to do. */
@Timeout(60)
class IdleCpuIT {
    private static final long LIMIT_NANOS = 50_000_000;

    /** The JVM's own threads compile after the first requests, so some seconds may cost more. */
    @Test
    void theSecondAfterARequestTakesNoProcessorTime() throws IOException, InterruptedException {
        var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        ModelOptions cpu = ModelOptions.builder().device("cpu").build();
        try (TextGenerator tales =
                TextGenerator.builder(Path.of("models/tales")).model(cpu).build()) {
            long least = Long.MAX_VALUE;
            for (int i = 0; i < 10 && least > LIMIT_NANOS; i++) {
                tales.generate("Once upon a time", SamplingParams.greedy(20));
                long before = system.getProcessCpuTime();
                Thread.sleep(1000); // the time that is measured
                least = Math.min(least, system.getProcessCpuTime() - before);
            }
            assertTrue(least <= LIMIT_NANOS, least / 1_000_000 + " ms");
        }
    }
}
