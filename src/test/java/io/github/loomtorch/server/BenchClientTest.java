package io.github.loomtorch.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.bench.Arrivals;
import io.github.loomtorch.bench.HttpTarget;
import io.github.loomtorch.bench.Lengths;
import io.github.loomtorch.bench.Measurement;
import io.github.loomtorch.bench.PlannedRequest;
import io.github.loomtorch.bench.RequestTrace;
import io.github.loomtorch.bench.Workload;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.FakeCausalLm;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The benchmark's HTTP client against this server. */
@Timeout(60)
class BenchClientTest {
    @Test
    void everyTokenOfEveryRequestIsSeen() throws Exception {
        try (FakeServer fake = new FakeServer();
                HttpTarget target = new HttpTarget(fake.uri("/"), Optional.empty(), Optional.empty())) {
            assertEquals("fake", target.model());
            assertEquals(OptionalInt.of(64), target.contextLength());
            SplittableRandom random = new SplittableRandom(1);
            List<PlannedRequest> plan = Arrivals.at(Double.POSITIVE_INFINITY, 1)
                    .draw(20, new Lengths.Uniform(2, 30), new Lengths.Uniform(1, 20), random);
            Measurement run = Workload.of(
                            plan,
                            Workload.randomPrompts(FakeCausalLm.VOCAB_SIZE, 64, 0, random),
                            64,
                            8,
                            SamplingParams.creative(),
                            random)
                    .run(target, Clock.system(), () -> {});
            for (int i = 0; i < 20; i++) {
                RequestTrace trace = run.requests().get(i);
                assertTrue(trace.isCompleted(), trace.failure());
                assertEquals(plan.get(i).inputTokens(), trace.inputTokens());
                assertEquals(plan.get(i).outputTokens(), trace.outputTokens());
                // Tokens that were sampled before the first was written come together.
                assertTrue(trace.tokenNanos().length >= 1 && trace.tokenNanos().length <= trace.outputTokens());
            }
        }
    }
}
