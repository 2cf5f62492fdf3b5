package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.sampling.Philox;
import io.github.loomtorch.sampling.Sampler;
import java.nio.IntBuffer;
import java.util.List;

/**
 * The layout of one row of a step's input, as ints (floats by their bits); {@link ResultRow} is that of the results.
 * The kernels get it as {@link KernelConstant}s.
 */
final class StepInput {
    /** The input token; -1 for the one that was sampled last in the same slot. */
    static final int TOKEN = 0;
    /** Tokens to attend to, this one included; 0 for padding. */
    static final int LENGTH = 1;
    /** How many of the sequence's tokens are in this step; 0 for padding. */
    static final int CHUNK_TOKENS = 2;
    /** The sequence's slot. */
    static final int SLOT = 3;
    /** Sum of the flags below. */
    static final int FLAGS = 4;

    static final int TOP_K = 5;
    /** log2(e) / temperature. */
    static final int SCALE = 6;

    static final int TOP_P = 7;
    /** log2(minP). */
    static final int MIN_EXPONENT = 8;

    static final int REPETITION = 9;
    static final int PRESENCE = 10;
    static final int FREQUENCY = 11;
    /** The row's random number. */
    static final int UNIFORM = 12;

    static final int TOP_LOGPROBS = 13;
    /**
     * Position of the first of the sequence's tokens in this step; the rows from that token's on are just before this
     * one.
     */
    static final int FIRST = 14;
    /** The row of the results that gets this row's; two steps in flight use different ones. */
    static final int RESULT_ROW = 15;
    /** How many tokens up to this row's the slot's counts lack: those of this row and of the rows just before. */
    static final int UNCOUNTED = 16;
    /** The sequence's pages begin here. */
    static final int PAGES = 17;

    /** Flag: a token is to be sampled. */
    static final int SAMPLES = 1;
    /** Flag: the most probable token is to be taken. */
    static final int GREEDY = 2;
    /** Flag: the slot's bias is to be added. */
    static final int BIASED = 4;
    /** Flag: penalties apply, by the slot's counts. */
    static final int PENALISED = 8;
    /** Flag: TOKEN is an output token that the slot's counts do not hold yet. */
    static final int COUNT_INPUT = 16;

    private StepInput() {}

    /** Ints of one row, for sequences of so many pages. */
    static int rowSize(int pagesPerSequence) {
        return Math.ceilDiv(PAGES + pagesPerSequence, 4) * 4;
    }

    /**
     * Fills the row that begins at {@code row}, but for RESULT_ROW, for one of a chunk's tokens; {@code flags} are
     * those that depend on the slot's tables.
     */
    static void put(IntBuffer buffer, int row, Chunk chunk, int position, int pageSize, int flags) {
        Sequence sequence = chunk.sequence();
        buffer.put(row + TOKEN, chunk.isPending() ? -1 : sequence.tokens()[position]);
        buffer.put(row + LENGTH, position + 1);
        buffer.put(row + CHUNK_TOKENS, chunk.count());
        buffer.put(row + FIRST, chunk.start());
        buffer.put(row + SLOT, sequence.slot());
        int pages = position / pageSize + 1;
        for (int i = 0; i < pages; i++) {
            buffer.put(row + PAGES + i, sequence.page(i));
        }
        int firstSampled = firstSampled(chunk);
        if (position < firstSampled) {
            buffer.put(row + FLAGS, 0);
            return;
        }
        buffer.put(row + UNCOUNTED, position - firstSampled);
        SamplingParams params = sequence.sampling();
        buffer.put(row + TOP_LOGPROBS, params.topLogprobs().orElse(-1));
        if (params.temperature() == 0) {
            buffer.put(row + FLAGS, SAMPLES | GREEDY | flags);
        } else {
            buffer.put(row + FLAGS, SAMPLES | flags);
            putDistribution(buffer, row, params);
            put(buffer, row + UNIFORM, Philox.uniform(sequence.seed(), position + 1 - sequence.promptLength()));
        }
        if ((flags & PENALISED) != 0) {
            put(buffer, row + REPETITION, params.repetitionPenalty());
            put(buffer, row + PRESENCE, params.presencePenalty());
            put(buffer, row + FREQUENCY, params.frequencyPenalty());
        }
    }

    /** The first position of a chunk after which a token is sampled; its end if none is. All later ones sample too. */
    static int firstSampled(Chunk chunk) {
        List<WantedPosition> wanted = chunk.wantedPositions();
        int first = chunk.end();
        for (int i = wanted.size() - 1; i >= 0 && !wanted.get(i).isScored(); i--) {
            first = wanted.get(i).position();
        }
        return first;
    }

    private static void putDistribution(IntBuffer buffer, int row, SamplingParams params) {
        buffer.put(row + TOP_K, params.topK());
        put(buffer, row + SCALE, Sampler.scale(params));
        put(buffer, row + TOP_P, params.topP());
        put(buffer, row + MIN_EXPONENT, Sampler.minExponent(params));
    }

    /** Fills a row for the last token of a synthetic sequence, sampled as {@link SamplingParams#creative()} says. */
    static void putSynthetic(IntBuffer buffer, int row, int slot, int length, int pages, int pageCount) {
        buffer.put(row + TOKEN, 0);
        buffer.put(row + LENGTH, length);
        buffer.put(row + CHUNK_TOKENS, 1);
        buffer.put(row + FIRST, length - 1);
        buffer.put(row + SLOT, slot);
        for (int i = 0; i < pages; i++) {
            buffer.put(row + PAGES + i, (slot * pages + i) % pageCount);
        }
        buffer.put(row + FLAGS, SAMPLES);
        buffer.put(row + UNCOUNTED, 0);
        putDistribution(buffer, row, SamplingParams.creative());
        put(buffer, row + UNIFORM, 0.5f);
        buffer.put(row + TOP_LOGPROBS, -1);
    }

    /** Makes a row padding: it attends to nothing and samples nothing. */
    static void clear(IntBuffer buffer, int row) {
        buffer.put(row + TOKEN, 0);
        buffer.put(row + LENGTH, 0);
        buffer.put(row + CHUNK_TOKENS, 0);
        buffer.put(row + FLAGS, 0);
    }

    private static void put(IntBuffer buffer, int index, float value) {
        buffer.put(index, Float.floatToRawIntBits(value));
    }
}
