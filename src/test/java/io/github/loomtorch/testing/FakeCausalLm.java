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
 * A model whose next token is a function of all tokens before it, as it reads them from its pages: any mix-up of slots, pages or shared
 * beginnings changes the ids. It checks what the engine promises to a {@link CausalLm}, and the test what it generates against
 * {@link #expected}.
 */
public final class FakeCausalLm implements CausalLm {
    public static final int VOCAB_SIZE = 100;
    public static final int END_OF_TEXT = 99;
    private static final int EMPTY = -1;

    private final int maxBatchSize;
    private final int pageSize;
    private final int pageCount;
    private final int contextLength;
    private final int[] store; // [pageCount, pageSize]
    private Thread owner = Thread.currentThread();
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
        store = new int[pageSize * pageCount];
        Arrays.fill(store, EMPTY);
    }

    /** Pages of 4 tokens, enough for all sequences at their longest, 64 tokens. */
    public static FakeCausalLm ofBatch(int maxBatchSize) {
        return new FakeCausalLm(maxBatchSize, 4, 16 * maxBatchSize, 64);
    }

    /** The output of a request that runs alone, by definition. */
    public static int[] expected(GenerationRequest request, long seed) {
        SamplingParams sampling = request.sampling();
        int[] tokens = request.promptTokenIds();
        int promptLength = tokens.length;
        while (tokens.length < promptLength + sampling.maxNewTokens()) {
            int id = next(tokens, tokens.length, sampling.temperature() == 0 ? 0 : seed, tokens.length - promptLength);
            tokens = Arrays.copyOf(tokens, tokens.length + 1);
            tokens[tokens.length - 1] = id;
            if (sampling.stopTokenIds().contains(id) || id == END_OF_TEXT && !sampling.ignoreEos()) {
                break;
            }
        }
        return Arrays.copyOfRange(tokens, promptLength, tokens.length);
    }

    private static int next(int[] history, int length, long seed, int index) {
        long hash = seed * 31 + index;
        for (int i = 0; i < length; i++) {
            hash = (hash + history[i] + 1) * 0x9E3779B97F4A7C15L;
            hash ^= hash >>> 29;
        }
        return (int) Math.floorMod(hash, (long) VOCAB_SIZE);
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
        owner = null;
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
            int[] history = read(sequence, sequence.length());
            long seed = sequence.sampling().temperature() == 0 ? 0 : sequence.seed();
            int id = next(history, history.length, seed, history.length - sequence.promptLength());
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
            int[] cached = read(sequence, chunk.start());
            check(
                    Arrays.equals(cached, 0, chunk.start(), sequence.tokens(), 0, chunk.start()),
                    "the cache does not hold the tokens before " + chunk.start());
        }
        for (Chunk chunk : chunks) {
            for (int i = chunk.start() / pageSize; i <= (chunk.start() + chunk.count() - 1) / pageSize; i++) {
                check(readers.get(chunk.sequence().page(i)) == 1, "a page that is written has another reader");
            }
        }
    }

    private void write(Chunk chunk) {
        for (int i = chunk.start(); i < chunk.start() + chunk.count(); i++) {
            store[chunk.sequence().page(i / pageSize) * pageSize + i % pageSize] =
                    chunk.sequence().tokens()[i];
        }
    }

    private int[] read(Sequence sequence, int count) {
        int[] tokens = new int[count];
        for (int i = 0; i < count; i++) {
            tokens[i] = store[sequence.page(i / pageSize) * pageSize + i % pageSize];
        }
        return tokens;
    }

    private void checkThread() {
        check(owner == null || owner == Thread.currentThread(), "called on " + Thread.currentThread());
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError("engine contract: " + what);
        }
    }
}
