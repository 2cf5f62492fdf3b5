package io.github.loomtorch.torch.cpu;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.request.TorchException;
import java.util.Arrays;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/** Measures steps of a model on the CPU. Confined to the engine thread. */
public final class CpuProfiler {
    private static final int WARM_UPS = 5;
    private static final int MEASUREMENTS = 21;

    private CpuProfiler() {}

    /**
     * How near a decode step is to the speed of memory.
     *
     * @param micros time of the step, logits included, without sampling
     * @param bytes of weights and of the KV cache that it reads
     * @param bytesPerSecond of reading the weights by as many threads, measured along with it
     */
    public record Step(double micros, long bytes, double bytesPerSecond) {

        /**
         * The step's bytes in a second.
         *
         * @return more than {@link #bytesPerSecond()} if caches held some of them
         */
        public double stepBytesPerSecond() {
            return bytes / (micros * 1e-6);
        }
    }

    /**
     * Measures a decode step.
     *
     * @param model to be measured
     * @param batchSize sequences, in [1, {@code model.maxBatchSize()}]
     * @param contextLength tokens of each, its new one included, in [1, {@code model.contextLength()}]
     * @return the medians of many steps
     * @throws TorchException if memory runs out
     * @throws IllegalArgumentException if an argument is out of its range
     */
    public static Step step(CpuGpt2 model, int batchSize, int contextLength) {
        requireRange("batchSize", batchSize, model.maxBatchSize());
        requireRange("contextLength", contextLength, model.contextLength());
        for (int i = 0; i < batchSize && contextLength > 1; i++) {
            step(model, plan(model, i, i + 1, 0, contextLength - 1, 0));
        }
        int[] decode = plan(model, 0, batchSize, contextLength - 1, 1, 1);
        double[] micros = new double[MEASUREMENTS];
        double[] bandwidth = new double[MEASUREMENTS];
        for (int i = -WARM_UPS; i < MEASUREMENTS; i++) {
            long start = System.nanoTime();
            step(model, decode);
            if (i >= 0) {
                micros[i] = (System.nanoTime() - start) / 1e3;
                bandwidth[i] = model.readBandwidth();
            }
        }
        Gpt2Config config = model.config();
        long tokenBytes = 2L * Float.BYTES * config.layerCount() * config.hiddenSize(); // of its keys and values
        long cacheBytes = tokenBytes * batchSize * contextLength;
        return new Step(median(micros), model.weightBytes() + cacheBytes, median(bandwidth));
    }

    private static void step(CpuGpt2 model, int[] plan) {
        int rows = model.step(plan, plan.length);
        if (rows < 0) {
            throw new TorchException("step to be measured failed: out of memory; reduce maxBatchSize");
        }
        for (int row = 0; row < rows; row++) {
            model.logits(row, rows);
        }
    }

    /** A step of the same positions of some sequences, each of which has pages of its own. */
    private static int[] plan(CpuGpt2 model, int firstSequence, int endSequence, int start, int count, int wanted) {
        int sequences = endSequence - firstSequence;
        int pages = Math.ceilDiv(start + count, model.pageSize());
        int pagesOfEach = model.pageCount() / model.maxBatchSize();
        IntStream chunks = IntStream.range(0, sequences).flatMap(i -> IntStream.of(start, count, wanted));
        IntStream ids = IntStream.range(0, sequences * count).map(i -> i % model.vocabSize());
        IntStream pageIds = IntStream.range(firstSequence, endSequence)
                .flatMap(i -> IntStream.range(i * pagesOfEach, i * pagesOfEach + pages));
        return Stream.of(IntStream.of(sequences), chunks, ids, pageIds)
                .flatMapToInt(part -> part)
                .toArray();
    }

    private static double median(double[] values) {
        Arrays.sort(values);
        return values[values.length / 2];
    }

    private static void requireRange(String name, int value, int max) {
        if (value < 1 || value > max) {
            throw new IllegalArgumentException(name + " must be in [1, " + max + "], got " + value);
        }
    }
}
