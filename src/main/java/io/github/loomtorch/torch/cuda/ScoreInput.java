package io.github.loomtorch.torch.cuda;

/**
 * The layout of one row of the input of {@code score.cu}, as ints; {@link ResultRow} is that of the results. The kernel
 * gets it as {@link KernelConstant}s.
 */
final class ScoreInput {
    /** Which row of the logits is scored. */
    static final int ROW = 0;
    /** The token whose log-probability is asked for. */
    static final int TARGET = 1;
    /** Sum of the flags below. */
    static final int FLAGS = 2;
    /** How many of the most probable tokens are asked for, in [0, 20]. */
    static final int TOP = 3;
    /** Ints of a row. */
    static final int SIZE = 4;

    /** Flag: the mean and variance of the log-probability are asked for. */
    static final int STATISTICS = 1;
    /** Flag: the probability of all ids that begin a word is asked for. */
    static final int WORD_STARTS = 2;

    private ScoreInput() {}
}
