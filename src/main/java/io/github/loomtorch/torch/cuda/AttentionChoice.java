package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.engine.Chunk;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/**
 * Which kernels of {@code decode.cu} compute a step's attention fastest, on one GPU for one model.
 *
 * @param headCount of the model
 * @param contextLength of the model
 * @param keysAtOnce keys that a block of {@link Kind#HEADS} reads at once
 * @param multiprocessors of the GPU
 * @param atLeast90 whether the GPU has what {@link Kind#SPLIT} and {@link Kind#RING} need
 * @param tiles whether GPU, elements and heads have what {@link Kind#TILES} needs
 */
record AttentionChoice(
        int headCount, int contextLength, int keysAtOnce, int multiprocessors, boolean atLeast90, boolean tiles) {
    private static final int FEW_BLOCKS = 48; // of HEADS: up to so many SPLIT is faster, if keys are many
    private static final int MANY_BLOCKS = 4; // of HEADS for each multiprocessor: from so many on RING is faster

    /** The ways to compute it. */
    enum Kind {
        /** Blocks have a head each: right for any step. */
        HEADS,
        /** Blocks share a head: for few rows with long contexts. From compute capability 9.0 on. */
        SPLIT,
        /**
         * Blocks have several heads, and fetch keys and values through a ring of shared memory, about as many each: for
         * many rows, each the only one of its sequence. From compute capability 9.0 on.
         */
        RING,
        /**
         * Neighbouring rows of a sequence share a block, as there are where the step has parts of prompts; rows that
         * stand alone as HEADS. For 16-bit elements and heads of 64, from compute capability 8.0 on.
         */
        TILES,
        /** The same, with RING for the rows that stand alone. */
        TILES_AND_RING;

        /** Whether it goes by an {@link AttentionPlan}. */
        boolean isPlanned() {
            return this == RING || this == TILES_AND_RING;
        }
    }

    /**
     * For a step.
     *
     * @param count its rows, with padding
     */
    Kind kind(List<Chunk> chunks, int count) {
        int alone = (int) chunks.stream().filter(chunk -> chunk.count() == 1).count();
        boolean parts = alone < chunks.size();
        int longest = chunks.stream().mapToInt(Chunk::end).max().orElseThrow();
        return kind(parts ? alone : count, parts, longest);
    }

    /**
     * For a step that is not known yet.
     *
     * @param alone rows that stand alone in their sequence, with padding if there are no others
     * @param parts whether there are others, in parts of prompts
     * @param longest tokens that a row attends to at most
     */
    Kind kind(int alone, boolean parts, int longest) {
        boolean manyAlone = atLeast90 && alone * headCount >= MANY_BLOCKS * multiprocessors;
        if (parts) {
            return !tiles ? Kind.HEADS : manyAlone ? Kind.TILES_AND_RING : Kind.TILES;
        }
        if (manyAlone) {
            return Kind.RING;
        }
        return atLeast90 && alone * headCount <= FEW_BLOCKS && longest > keysAtOnce ? Kind.SPLIT : Kind.HEADS;
    }

    /** All that {@link #kind} says of steps of so many rows, with padding, for {@code batch} sequences at most. */
    Set<Kind> kinds(int count, int batch) {
        Set<Kind> kinds = EnumSet.noneOf(Kind.class);
        if (count <= batch) {
            kinds.add(kind(count, false, 1));
            kinds.add(kind(count, false, contextLength));
        }
        if (count > 1) {
            kinds.add(kind(0, true, 1));
            kinds.add(kind(Math.min(count - 2, batch - 1), true, 1));
        }
        return kinds;
    }
}
