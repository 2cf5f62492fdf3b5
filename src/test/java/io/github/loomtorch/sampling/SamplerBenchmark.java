package io.github.loomtorch.sampling;

import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/**
 * One token from a row of GPT-2's vocabulary. Run {@code org.openjdk.jmh.Main SamplerBenchmark} on the test class path.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class SamplerBenchmark {
    private static final int VOCAB_SIZE = 50_257;
    private static final int ROWS = 16; // so that neither data nor branches are learnt by heart

    private final Sampler sampler = new Sampler(VOCAB_SIZE);
    private final float[][] rows = gpt2LikeRows();
    private final int[] tokens =
            new SplittableRandom(2).ints(200, 0, VOCAB_SIZE).toArray();
    private int index;

    // A bell of width 3 around -42, as GPT-2's last layer gives, and a few dozen likely tokens above it.
    private static float[][] gpt2LikeRows() {
        SplittableRandom random = new SplittableRandom(1);
        float[][] rows = new float[ROWS][VOCAB_SIZE];
        for (float[] row : rows) {
            for (int id = 0; id < VOCAB_SIZE; id++) {
                row[id] = (float) (-42 + 3 * random.nextGaussian());
            }
            for (int i = 0; i < 40; i++) {
                row[random.nextInt(VOCAB_SIZE)] = (float) (-26 - 6 * random.nextDouble());
            }
        }
        return rows;
    }

    private int sample(SamplingParams params) {
        index++;
        return sampler.sample(rows[index % ROWS], params, 7, tokens, 0, tokens.length - index % 100);
    }

    /** @return the token */
    @Benchmark
    public int greedy() {
        return sample(GREEDY);
    }

    /** @return the token */
    @Benchmark
    public int temperature07TopK50TopP095() {
        return sample(CREATIVE);
    }

    /** @return the token */
    @Benchmark
    public int temperature07TopK50TopP095Penalties() {
        return sample(PENALTIES);
    }

    /** @return the token */
    @Benchmark
    public int temperature1() {
        return sample(TEMPERATURE);
    }

    /** @return the token */
    @Benchmark
    public int topP095() {
        return sample(TOP_P);
    }

    /** @return the logprobs */
    @Benchmark
    public TokenLogprobs logprobs20() {
        return sampler.logprobs(rows[++index % ROWS], 11, 20);
    }

    private static final SamplingParams GREEDY = SamplingParams.greedy(1);
    private static final SamplingParams CREATIVE = SamplingParams.creative();
    private static final SamplingParams PENALTIES = SamplingParams.creative().toBuilder()
            .repetitionPenalty(1.2f)
            .presencePenalty(0.5f)
            .build();
    private static final SamplingParams TEMPERATURE = SamplingParams.builder().build();
    private static final SamplingParams TOP_P =
            SamplingParams.builder().topP(0.95f).build();
}
