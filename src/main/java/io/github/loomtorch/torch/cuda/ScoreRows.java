package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.TokenLogprobs;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.stream.IntStream;

/**
 * The positions of one step that are scored: the input of {@code score.cu} ({@link ScoreInput}), and what its results
 * ({@link ResultRow}) mean. The rows of the input are scored block by block, so that only a block's logits are in
 * memory. Pure arithmetic. Confined to the engine thread.
 */
final class ScoreRows {
    private record Row(Chunk chunk, WantedPosition wanted, int source) {}

    private final List<Row> rows = new ArrayList<>();
    private int top; // the most that a row asks for

    void clear() {
        rows.clear();
        top = 0;
    }

    /** Adds the scored positions of chunks whose tokens have a row each, in order. */
    void addTokens(List<Chunk> chunks) {
        int tokens = 0;
        for (Chunk chunk : chunks) {
            for (WantedPosition wanted : chunk.wantedPositions()) {
                if (wanted.isScored()) {
                    add(chunk, wanted, tokens + wanted.position() - chunk.start());
                }
            }
            tokens += chunk.count();
        }
    }

    /**
     * Adds the scored positions of chunks whose wanted positions have a row each, in order.
     *
     * @return the rows of the other wanted positions, which are sampled after
     */
    int[] addWanted(List<Chunk> chunks) {
        IntStream.Builder sampled = IntStream.builder();
        int row = 0;
        for (Chunk chunk : chunks) {
            for (WantedPosition wanted : chunk.wantedPositions()) {
                if (wanted.isScored()) {
                    add(chunk, wanted, row);
                } else {
                    sampled.add(row);
                }
                row++;
            }
        }
        return sampled.build().toArray();
    }

    private void add(Chunk chunk, WantedPosition wanted, int source) {
        rows.add(new Row(chunk, wanted, source));
        top = Math.max(top, scoring(chunk).top());
    }

    private static PromptScoring scoring(Chunk chunk) {
        return chunk.sequence().sampling().promptScoring().orElseThrow();
    }

    int count() {
        return rows.size();
    }

    /** Ints from one row of results to the next. */
    int stride() {
        return ResultRow.size(top);
    }

    /** Puts the source of each row, [count]. */
    void putSources(IntBuffer buffer) {
        rows.forEach(row -> buffer.put(row.source));
    }

    /**
     * Puts the input, [count, SIZE], for logits that are computed {@code blockRows} rows at a time: each row names its
     * logits within its block.
     */
    void putBlocks(IntBuffer buffer, int blockRows) {
        for (int i = 0; i < rows.size(); i++) {
            put(buffer, rows.get(i), i % blockRows);
        }
    }

    /** Puts the input, [count, SIZE], for logits of all sources. */
    void put(IntBuffer buffer) {
        rows.forEach(row -> put(buffer, row, row.source));
    }

    private static void put(IntBuffer buffer, Row row, int logits) {
        PromptScoring scoring = scoring(row.chunk);
        put(buffer, logits, row.wanted.targetId(), scoring);
    }

    /** Puts one row of the input. */
    static void put(IntBuffer buffer, int logits, int targetId, PromptScoring scoring) {
        int at = buffer.position();
        buffer.put(at + ScoreInput.ROW, logits);
        buffer.put(at + ScoreInput.TARGET, targetId);
        buffer.put(
                at + ScoreInput.FLAGS,
                (scoring.statistics() ? ScoreInput.STATISTICS : 0)
                        + (scoring.wordStarts() ? ScoreInput.WORD_STARTS : 0));
        buffer.put(at + ScoreInput.TOP, scoring.top());
        buffer.position(at + ScoreInput.SIZE);
    }

    /** Gives each position its score, or its chunk the reason why it has none, from the results [count, stride]. */
    void take(IntBuffer results, int vocabSize) {
        for (int i = 0; i < rows.size(); i++) {
            Row row = rows.get(i);
            IntBuffer result = results.slice(i * stride(), stride());
            if (result.get(ResultRow.RANK) < 0) {
                row.chunk.failed(ResultRow.unusable(result::get, vocabSize));
            } else {
                row.wanted.scored(score(result, scoring(row.chunk), vocabSize));
            }
        }
    }

    /** What a row of results says. */
    static PositionScore score(IntBuffer result, PromptScoring scoring, int vocabSize) {
        TokenLogprobs logprobs = ResultRow.logprobs(result::get, Math.min(scoring.top(), vocabSize));
        Optional<PositionScore.Statistics> statistics = Optional.empty();
        if (scoring.statistics()) {
            double entropy = ResultRow.logMass(result::get) - ResultRow.number(result::get, ResultRow.MEAN);
            statistics = Optional.of(new PositionScore.Statistics(
                    result.get(ResultRow.RANK),
                    (float) Math.max(0, entropy),
                    ResultRow.number(result::get, ResultRow.VARIANCE)));
        }
        OptionalDouble wordStarts = scoring.wordStarts()
                ? OptionalDouble.of(StrictMath.log(ResultRow.number(result::get, ResultRow.WORD_STARTS)))
                : OptionalDouble.empty();
        return new PositionScore(logprobs, statistics, wordStarts);
    }
}
