package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.engine.Chunk;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/**
 * Which attention kernels compute a step fastest, on one GPU for one model. A decode row is the only row of its
 * sequence in the step; the rows of a prefill chunk are consecutive.
 *
 * @param headCount of the model
 * @param contextLength of the model
 * @param keysAtOnce keys that a block of {@link Kind#PAGED} reads at once
 * @param smCount of the GPU
 * @param atLeast90 whether the GPU has what {@link Kind#SPLIT_KV} and {@link Kind#PERSISTENT} need
 * @param hasPrefill whether GPU, elements and heads have what {@link Kind#PREFILL} needs
 */
record AttentionChoice(
        int headCount, int contextLength, int keysAtOnce, int smCount, boolean atLeast90, boolean hasPrefill) {
    private static final int FEW_BLOCKS = 48; // of PAGED: up to so many SPLIT_KV is faster, if keys are many
    private static final int MANY_BLOCKS = 4; // of PAGED for each SM: from so many on PERSISTENT is faster

    /** The ways to compute it. */
    enum Kind {
        /** {@code paged_attention}, a block for each row and head: right for any step. */
        PAGED,
        /**
         * {@code paged_attention_split_kv}, several blocks for each row and head: for few rows with long contexts. From
         * compute capability 9.0 on.
         */
        SPLIT_KV,
        /**
         * {@code paged_attention_persistent}, blocks of several heads that divide the tokens of all rows about equally
         * by an {@link AttentionPlan}: for many decode rows. From compute capability 9.0 on.
         */
        PERSISTENT,
        /**
         * {@code paged_attention_prefill}, consecutive rows of a sequence share a block; decode rows are computed as by
         * PAGED: for steps with prefill chunks. For 16-bit elements and heads of 64, from compute capability 8.0 on.
         */
        PREFILL,
        /** The same, with PERSISTENT for the decode rows. */
        PREFILL_AND_PERSISTENT;

        /** Whether it follows an {@link AttentionPlan}. */
        boolean isPlanned() {
            return this == PERSISTENT || this == PREFILL_AND_PERSISTENT;
        }
    }

    /**
     * For a step.
     *
     * @param count its rows, with padding
     */
    Kind kind(List<Chunk> chunks, int count) {
        int decodeRows =
                (int) chunks.stream().filter(chunk -> chunk.count() == 1).count();
        int longest = chunks.stream().mapToInt(Chunk::end).max().orElseThrow();
        return decodeRows < chunks.size() ? withPrefill(decodeRows) : decode(count, longest);
    }

    /**
     * For a step of decode rows only.
     *
     * @param rows with padding
     * @param longest most tokens that a row attends to
     */
    Kind decode(int rows, int longest) {
        if (isMany(rows)) {
            return Kind.PERSISTENT;
        }
        return atLeast90 && rows * headCount <= FEW_BLOCKS && longest > keysAtOnce ? Kind.SPLIT_KV : Kind.PAGED;
    }

    /**
     * For a step with prefill chunks.
     *
     * @param decodeRows beside them
     */
    Kind withPrefill(int decodeRows) {
        return !hasPrefill ? Kind.PAGED : isMany(decodeRows) ? Kind.PREFILL_AND_PERSISTENT : Kind.PREFILL;
    }

    private boolean isMany(int decodeRows) {
        return atLeast90 && decodeRows * headCount >= MANY_BLOCKS * smCount;
    }

    /** All kinds for steps of so many rows, with padding, of {@code batch} sequences at most. */
    Set<Kind> kinds(int count, int batch) {
        Set<Kind> kinds = EnumSet.noneOf(Kind.class);
        if (count <= batch) {
            kinds.add(decode(count, 1));
            kinds.add(decode(count, contextLength));
        }
        if (count > 1) {
            kinds.add(withPrefill(0));
            kinds.add(withPrefill(Math.min(count - 2, batch - 1)));
        }
        return kinds;
    }
}
