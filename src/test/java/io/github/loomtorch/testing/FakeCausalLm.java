package io.github.loomtorch.testing;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.sampling.Sampler;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.IntStream;

/**
 * A model whose next token and whose scores are functions of all tokens before, as it reads them from its pages: each
 * row holds a hash of its token and of the row before, so any mix-up of slots, pages or shared prefixes changes them.
 * It checks what the engine promises to a {@link CausalLm}; tests compare what comes out with {@link #expected} and
 * {@link #expectedScores}.
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
    private final int[] ids; // [pageCount, pageSize], of the tokens in the rows
    private boolean draws;
    private boolean confined = true;
    private Thread owner; // whose call was the first
    private boolean runsAhead;
    private int[] endOfTextIds = {END_OF_TEXT};
    private final Deque<Step> inFlight = new ArrayDeque<>();
    private final Sampled[] sampled; // by slot: what was sampled there last

    private Consumer<List<Chunk>> onLaunch = chunks -> {};
    private Consumer<List<Chunk>> onAwait = chunks -> {};
    private Function<Sequence, RuntimeException> failures = sequence -> null;

    private volatile int steps;
    private volatile int closes;
    private volatile long computedTokens;
    private volatile int largestBatch;

    /**
     * What a step yields, known when it is launched, as its effects are those of launches in order: for each chunk what
     * is to be said to its wanted positions.
     */
    private record Step(List<Chunk> chunks, List<List<Runnable>> results, int[] lengths) {}

    /** A token sampled for a sequence by a step, the first of which is number 0. */
    private record Sampled(Sequence sequence, int step, int id) {}

    public FakeCausalLm(int maxBatchSize, int pageSize, int pageCount, int contextLength) {
        this.maxBatchSize = maxBatchSize;
        this.pageSize = pageSize;
        this.pageCount = pageCount;
        this.contextLength = contextLength;
        rows = new long[pageSize * pageCount];
        ids = new int[pageSize * pageCount];
        sampled = new Sampled[maxBatchSize];
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

    /** The scores of a request's prompt, by definition. */
    public static List<PositionScore> expectedScores(GenerationRequest request) {
        PromptScoring scoring = request.sampling().promptScoring().orElseThrow();
        int[] prompt = request.promptTokenIds();
        List<PositionScore> scores = new ArrayList<>();
        long row = EMPTY;
        for (int i = 0; i + 1 < prompt.length; i++) {
            row = row(row, prompt[i]);
            if (i + 1 >= scoring.firstToken()) {
                scores.add(score(row, prompt[i + 1], scoring));
            }
        }
        return scores;
    }

    /** Any numbers that tell one place from another, and hold what is asked for. */
    private static PositionScore score(long row, int targetId, PromptScoring scoring) {
        float number = Math.floorMod(row(row, targetId), 1 << 20);
        List<TokenLogprobs.Entry> top = IntStream.range(0, scoring.top())
                .mapToObj(i -> new TokenLogprobs.Entry(i, -number - i))
                .toList();
        return new PositionScore(
                new TokenLogprobs(-number, top),
                scoring.statistics()
                        ? Optional.of(new PositionScore.Statistics(1 + (int) number, number, 2 * number))
                        : Optional.empty(),
                scoring.wordStarts() ? OptionalDouble.of(-3 * number) : OptionalDouble.empty());
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

    /**
     * Samples by the reference sampler, from logits that depend on the last token and favour a few: texts repeat
     * themselves. {@link #expected} does not know of it.
     */
    public FakeCausalLm drawing() {
        draws = true;
        return this;
    }

    /** Whether two steps may be in flight. */
    public FakeCausalLm runningAhead(boolean ahead) {
        runsAhead = ahead;
        return this;
    }

    /** Other tokens that end a text, ascending; {@link #expected} does not know of them. */
    public FakeCausalLm endOfTextIds(int... ids) {
        endOfTextIds = ids;
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

    /** Steps launched and not finished. */
    public int stepsInFlight() {
        return inFlight.size();
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
    public String device() {
        return "fake:0";
    }

    @Override
    public int contextLength() {
        return contextLength;
    }

    @Override
    public int[] endOfTextIds() {
        return endOfTextIds;
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
    public void wordStarts(boolean[] table) {
        check(steps == 0 && table.length == VOCAB_SIZE, "a table of " + table.length + " after " + steps + " steps");
    }

    @Override
    public boolean runsAhead() {
        return runsAhead;
    }

    @Override
    public void launch(List<Chunk> chunks) {
        checkThread();
        check(inFlight.size() < (runsAhead ? 2 : 1), "launch with " + inFlight.size() + " steps in flight");
        check(closes == 0, "launch after close");
        checkBatch(chunks);
        onLaunch.accept(chunks);
        List<List<Runnable>> results = new ArrayList<>();
        for (Chunk chunk : chunks) {
            write(chunk);
            checkWanted(chunk);
            results.add(chunk.wantedPositions().stream()
                    .map(wanted -> result(chunk, wanted))
                    .toList());
            computedTokens += chunk.count();
        }
        inFlight.add(new Step(
                List.copyOf(chunks),
                results,
                chunks.stream().mapToInt(chunk -> chunk.sequence().length()).toArray()));
        largestBatch = Math.max(largestBatch, chunks.size());
        steps++;
    }

    @Override
    public void await() {
        checkThread();
        check(!inFlight.isEmpty(), "await without launch");
        Step step = inFlight.remove();
        onAwait.accept(step.chunks());
        for (int i = 0; i < step.chunks().size(); i++) {
            Chunk chunk = step.chunks().get(i);
            Sequence sequence = chunk.sequence();
            int grown = sequence.length() - step.lengths()[i];
            check(grown == 0 || grown == 1 && chunk.isPending(), "a sequence grew by " + grown + " before await");
            RuntimeException failure = failures.apply(sequence);
            if (failure != null && !chunk.wantedPositions().isEmpty()) {
                chunk.failed(failure);
                continue;
            }
            step.results().get(i).forEach(Runnable::run);
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
            boolean needsTokens = sequence.sampling().speculation().isPresent()
                    || sequence.sampling().badWordIds().stream().anyMatch(word -> word.size() > 1);
            boolean mayWait = needsTokens && chunk.end() >= sequence.length();
            check(
                    chunk.mayRunAhead() == runsAhead || !chunk.mayRunAhead() && mayWait,
                    "a chunk that may run ahead: " + chunk.mayRunAhead());
            if (chunk.isPending()) {
                Sampled before = sampled[slot];
                check(
                        before != null
                                && before.sequence() == sequence
                                && before.step() == steps - 1
                                && !inFlight.isEmpty(),
                        "a token is pending that the step before does not sample");
            }
            for (int i = 0; i <= (chunk.end() - 1) / pageSize; i++) {
                readers.merge(sequence.page(i), 1, Integer::sum);
            }
            long row = EMPTY;
            for (int i = 0; i < chunk.start(); i++) {
                row = row(row, sequence.tokens()[i]);
                check(rows[place(sequence, i)] == row, "the cache does not hold token " + i);
            }
        }
        for (Chunk chunk : chunks) {
            for (int i = chunk.start() / pageSize; i <= (chunk.end() - 1) / pageSize; i++) {
                check(readers.get(chunk.sequence().page(i)) == 1, "a page that is written has another reader");
            }
        }
    }

    private void write(Chunk chunk) {
        Sequence sequence = chunk.sequence();
        for (int i = chunk.start(); i < chunk.end(); i++) {
            long before = i == 0 ? EMPTY : rows[place(sequence, i - 1)];
            int id = chunk.isPending() ? sampled[sequence.slot()].id() : sequence.tokens()[i];
            rows[place(sequence, i)] = row(before, id);
            ids[place(sequence, i)] = id;
        }
    }

    /** All positions before scored tokens of the prompt, and the last if a token follows that is not known. */
    private static void checkWanted(Chunk chunk) {
        Sequence sequence = chunk.sequence();
        Optional<PromptScoring> scoring = sequence.sampling().promptScoring();
        int firstToken = scoring.map(PromptScoring::firstToken).orElse(Integer.MAX_VALUE);
        List<String> wanted = new ArrayList<>();
        for (int position = chunk.start(); position < chunk.end(); position++) {
            boolean known = position + 1 < sequence.length();
            if (known && position + 1 >= firstToken && position + 1 < sequence.promptLength()) {
                wanted.add(position + " scores " + sequence.tokens()[position + 1]);
            } else if (!known) {
                wanted.add(position + " samples");
            }
        }
        List<String> got = chunk.wantedPositions().stream()
                .map(each -> each.position() + (each.isScored() ? " scores " + each.targetId() : " samples"))
                .toList();
        int recomputed = wanted.size() - got.size(); // scores that a preempted sequence has already
        check(
                recomputed >= 0 && got.equals(wanted.subList(recomputed, wanted.size())),
                "wanted are " + got + " of " + wanted);
        for (int position = chunk.start(); position < chunk.end(); position++) {
            int at = position;
            boolean isWanted = chunk.wantedPositions().stream().anyMatch(each -> each.position() == at);
            check(chunk.wants(position) == isWanted, "position " + position + " wanted: " + isWanted);
        }
    }

    private Runnable result(Chunk chunk, WantedPosition wanted) {
        Sequence sequence = chunk.sequence();
        long row = rows[place(sequence, wanted.position())];
        SamplingParams sampling = sequence.sampling();
        if (wanted.isScored()) {
            PositionScore score =
                    score(row, wanted.targetId(), sampling.promptScoring().orElseThrow());
            return () -> wanted.scored(score);
        }
        int id = draws
                ? draw(chunk, wanted.position() + 1)
                : sample(row, sampling, sequence.seed(), wanted.position() + 1 - sequence.promptLength());
        sampled[sequence.slot()] = new Sampled(sequence, steps, id);
        return sampling.topLogprobs().isPresent()
                ? () -> wanted.sampled(id, new TokenLogprobs(-id, List.of()))
                : () -> wanted.sampled(id);
    }

    /** As a device does: the bans of the first token that a chunk samples are those of all. */
    private int draw(Chunk chunk, int length) {
        Sequence sequence = chunk.sequence();
        int[] history = IntStream.range(0, length)
                .map(position -> ids[place(sequence, position)])
                .toArray();
        int first = chunk.wantedPositions().stream()
                .filter(wanted -> !wanted.isScored())
                .findFirst()
                .orElseThrow()
                .position();
        return draw(history, sequence.request(), sequence.seed(), sequence.bannedIds(first + 1));
    }

    private static int draw(int[] history, GenerationRequest request, long seed, int... bannedIds) {
        int length = history.length;
        float[] logits = new float[VOCAB_SIZE];
        for (int id = 0; id < VOCAB_SIZE; id++) {
            int hash = (int) row(row(EMPTY, history[length - 1]), id);
            logits[id] = Math.floorMod(hash, 1000) / 100f - 2 * Math.floorMod(id, 7);
        }
        return new Sampler(VOCAB_SIZE)
                .sample(logits, request.sampling(), seed, history, request.promptTokenIds().length, length, bannedIds);
    }

    /** The output of a request that runs alone on a {@link #drawing} model without stop strings, by definition. */
    public static int[] expectedDraws(GenerationRequest request, long seed) {
        SamplingParams sampling = request.sampling();
        List<Integer> ending = new ArrayList<>(sampling.stopTokenIds());
        if (!sampling.ignoreEos()) {
            ending.add(END_OF_TEXT);
        }
        List<Integer> output = new ArrayList<>();
        int[] history = request.promptTokenIds();
        while (output.size() < sampling.maxNewTokens() && !endsWithOneOf(ending, output)) {
            Set<Integer> banned = new HashSet<>(output.size() < sampling.minNewTokens() ? ending : List.of());
            for (List<Integer> word : sampling.badWordIds()) {
                List<Integer> before = word.subList(0, word.size() - 1);
                int from = output.size() - before.size();
                if (from >= 0 && output.subList(from, output.size()).equals(before)) {
                    banned.add(word.getLast());
                }
            }
            int id = draw(
                    history, request, seed, banned.stream().mapToInt(i -> i).toArray());
            output.add(id);
            history = Arrays.copyOf(history, history.length + 1);
            history[history.length - 1] = id;
        }
        return output.stream().mapToInt(i -> i).toArray();
    }

    private static boolean endsWithOneOf(List<Integer> ending, List<Integer> output) {
        return !output.isEmpty() && ending.contains(output.getLast());
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
