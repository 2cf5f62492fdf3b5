package io.github.loomtorch.testing;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.Function;

/**
 * A model whose next token is a function of all tokens before it, as it reads them from its pages: each row holds a hash of its token and
 * of the row before, so any mix-up of slots, pages or shared beginnings changes the ids. It checks what the engine promises to a
 * {@link CausalLm}; tests compare what comes out with {@link #expected}.
 */
public final class FakeCausalLm implements CausalLm {
    public static final int VOCAB_SIZE = 100;
    public static final int END_OF_TEXT = 99;
    private static final long EMPTY = 0;

    private final int maxBatchSize;
    private final int pageSize;
    private final int pageCount;
    private final int contextLength;
    private final long[] rows; // [pageCount, pageSize]
    private boolean confined = true;
    private Thread owner; // whose call was the first
    private List<Chunk> launched = List.of();
    private int[] launchedLengths = {};
    private boolean inFlight;

    private Consumer<List<Chunk>> onLaunch = chunks -> {};
    private Consumer<List<Chunk>> onAwait = chunks -> {};
    private Function<Sequence, RuntimeException> failures = sequence -> null;

    private volatile int steps;
    private volatile int closes;
    private volatile long computedTokens;
    private volatile int largestBatch;

    public FakeCausalLm(int maxBatchSize, int pageSize, int pageCount, int contextLength) {
        this.maxBatchSize = maxBatchSize;
        this.pageSize = pageSize;
        this.pageCount = pageCount;
        this.contextLength = contextLength;
        rows = new long[pageSize * pageCount];
    }

    /** Pages of 4 tokens, enough for all sequences at their longest, 64 tokens. */
    public static FakeCausalLm ofBatch(int maxBatchSize) {
        return new FakeCausalLm(maxBatchSize, 4, 16 * maxBatchSize, 64);
    }

    /** The output of a request that runs alone, by definition. */
    public static int[] expected(GenerationRequest request, long seed) {
        SamplingParams sampling = request.sampling();
        int[] prompt = request.promptTokenIds();
        int[] output = new int[sampling.maxNewTokens()];
        long row = EMPTY;
        for (int id : prompt) {
            row = row(row, id);
        }
        for (int i = 0; i < output.length; i++) {
            int id = sample(row, sampling, seed, i);
            output[i] = id;
            if (sampling.stopTokenIds().contains(id) || id == END_OF_TEXT && !sampling.ignoreEos()) {
                return Arrays.copyOf(output, i + 1);
            }
            row = row(row, id);
        }
        return output;
    }

    /** What the cache holds for a token: all that is before it counts. */
    private static long row(long before, int id) {
        long hash = (before + id + 1) * 0x9E3779B97F4A7C15L;
        return hash ^ hash >>> 29;
    }

    private static int sample(long row, SamplingParams sampling, long seed, int index) {
        long random = sampling.temperature() == 0 ? 0 : row(seed, index);
        return (int) Math.floorMod(row + random, (long) VOCAB_SIZE);
    }

    /** Called before each step is launched, and may throw. */
    public FakeCausalLm onLaunch(Consumer<List<Chunk>> hook) {
        onLaunch = hook;
        return this;
    }

    /** Called before each step ends, and may throw. */
    public FakeCausalLm onAwait(Consumer<List<Chunk>> hook) {
        onAwait = hook;
        return this;
    }

    /** Fails sequences for which this is not null. */
    public FakeCausalLm failing(Function<Sequence, RuntimeException> hook) {
        failures = hook;
        return this;
    }

    /** May be called by any thread, one at a time. */
    public FakeCausalLm unconfined() {
        confined = false;
        return this;
    }

    public int steps() {
        return steps;
    }

    public int closes() {
        return closes;
    }

    public long computedTokens() {
        return computedTokens;
    }

    public int largestBatch() {
        return largestBatch;
    }

    @Override
    public int vocabSize() {
        return VOCAB_SIZE;
    }

    @Override
    public int contextLength() {
        return contextLength;
    }

    @Override
    public int endOfTextId() {
        return END_OF_TEXT;
    }

    @Override
    public int maxBatchSize() {
        return maxBatchSize;
    }

    @Override
    public int pageSize() {
        return pageSize;
    }

    @Override
    public int pageCount() {
        return pageCount;
    }

    @Override
    public void launch(List<Chunk> chunks) {
        checkThread();
        check(!inFlight, "launch before await");
        check(closes == 0, "launch after close");
        checkBatch(chunks);
        onLaunch.accept(chunks);
        for (Chunk chunk : chunks) {
            write(chunk);
            computedTokens += chunk.count();
        }
        launched = new ArrayList<>(chunks);
        launchedLengths = chunks.stream().mapToInt(chunk -> chunk.sequence().length()).toArray();
        largestBatch = Math.max(largestBatch, chunks.size());
        steps++;
        inFlight = true;
    }

    @Override
    public void await() {
        checkThread();
        check(inFlight, "await without launch");
        inFlight = false;
        onAwait.accept(launched);
        for (int i = 0; i < launched.size(); i++) {
            Chunk chunk = launched.get(i);
            Sequence sequence = chunk.sequence();
            check(sequence.length() == launchedLengths[i], "a sequence changed before await");
            if (!chunk.samples()) {
                continue;
            }
            RuntimeException failure = failures.apply(sequence);
            if (failure != null) {
                chunk.failed(failure);
                continue;
            }
            int last = sequence.length() - 1;
            int index = sequence.length() - sequence.promptLength();
            int id = sample(rows[place(sequence, last)], sequence.sampling(), sequence.seed(), index);
            if (sequence.sampling().topLogprobs() >= 0) {
                chunk.sampled(id, new TokenLogprobs(-id, List.of()));
            } else {
                chunk.sampled(id);
            }
        }
    }

    @Override
    public void close() {
        checkThread();
        closes++;
    }

    private void checkBatch(List<Chunk> chunks) {
        check(!chunks.isEmpty() && chunks.size() <= maxBatchSize, "batch of " + chunks.size());
        Set<Integer> slots = new HashSet<>();
        Map<Integer, Integer> readers = new HashMap<>();
        boolean longer = false;
        for (Chunk chunk : chunks) {
            Sequence sequence = chunk.sequence();
            int slot = sequence.slot();
            check(slot >= 0 && slot < maxBatchSize && slots.add(slot), "slot " + slot);
            check(chunk.count() == 1 ? !longer : (longer = true), "a chunk of one token after a longer one");
            for (int i = 0; i <= (chunk.start() + chunk.count() - 1) / pageSize; i++) {
                readers.merge(sequence.page(i), 1, Integer::sum);
            }
            long row = EMPTY;
            for (int i = 0; i < chunk.start(); i++) {
                row = row(row, sequence.tokens()[i]);
                check(rows[place(sequence, i)] == row, "the cache does not hold token " + i);
            }
        }
        for (Chunk chunk : chunks) {
            for (int i = chunk.start() / pageSize; i <= (chunk.start() + chunk.count() - 1) / pageSize; i++) {
                check(readers.get(chunk.sequence().page(i)) == 1, "a page that is written has another reader");
            }
        }
    }

    private void write(Chunk chunk) {
        Sequence sequence = chunk.sequence();
        for (int i = chunk.start(); i < chunk.start() + chunk.count(); i++) {
            long before = i == 0 ? EMPTY : rows[place(sequence, i - 1)];
            rows[place(sequence, i)] = row(before, sequence.tokens()[i]);
        }
    }

    private int place(Sequence sequence, int position) {
        return sequence.page(position / pageSize) * pageSize + position % pageSize;
    }

    private void checkThread() {
        if (confined) {
            owner = owner == null ? Thread.currentThread() : owner;
            check(owner == Thread.currentThread(), "called on " + Thread.currentThread());
        }
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError("engine contract: " + what);
        }
    }
}
