package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.sampling.Sampler.Unusable;
import java.util.Optional;

/**
 * The values that Java passes to the CUDA files, each as {@code -DLT_<name>=<value>}. No other number is shared. A
 * constant with a value here has it for all models; {@link KernelSet} computes the others.
 */
enum KernelConstant {
    ELEMENT_BITS,
    BFLOAT16,
    HIDDEN,
    HEAD_SIZE,
    PAGE_SIZE,
    VOCAB,
    PADDED_VOCAB,
    /** Of the LayerNorm, as the bits of a float. */
    EPSILON_BITS,
    /** The name of an {@link io.github.loomtorch.model.Activation}. */
    ACTIVATION,

    ROW_SIZE,
    ROW_TOKEN(StepInput.TOKEN),
    ROW_LENGTH(StepInput.LENGTH),
    ROW_CHUNK_TOKENS(StepInput.CHUNK_TOKENS),
    ROW_SLOT(StepInput.SLOT),
    ROW_FLAGS(StepInput.FLAGS),
    ROW_TOP_K(StepInput.TOP_K),
    ROW_SCALE(StepInput.SCALE),
    ROW_TOP_P(StepInput.TOP_P),
    ROW_MIN_EXPONENT(StepInput.MIN_EXPONENT),
    ROW_REPETITION(StepInput.REPETITION),
    ROW_PRESENCE(StepInput.PRESENCE),
    ROW_FREQUENCY(StepInput.FREQUENCY),
    ROW_UNIFORM(StepInput.UNIFORM),
    ROW_TOP_LOGPROBS(StepInput.TOP_LOGPROBS),
    ROW_FIRST(StepInput.FIRST),
    ROW_RESULT(StepInput.RESULT_ROW),
    ROW_UNCOUNTED(StepInput.UNCOUNTED),
    ROW_PAGES(StepInput.PAGES),

    FLAG_SAMPLES(StepInput.SAMPLES),
    FLAG_GREEDY(StepInput.GREEDY),
    FLAG_BIASED(StepInput.BIASED),
    FLAG_PENALISED(StepInput.PENALISED),
    FLAG_COUNT_INPUT(StepInput.COUNT_INPUT),

    RESULT_SIZE(ResultRow.SIZE),
    RESULT_TOKEN(ResultRow.TOKEN),
    RESULT_TOKEN_LOGIT(ResultRow.TOKEN_LOGIT),
    RESULT_MAX_LOGIT(ResultRow.MAX_LOGIT),
    RESULT_MASS(ResultRow.MASS),
    RESULT_RANK(ResultRow.RANK),
    RESULT_MEAN(ResultRow.MEAN),
    RESULT_VARIANCE(ResultRow.VARIANCE),
    RESULT_WORD_STARTS(ResultRow.WORD_STARTS),
    RESULT_TOP(ResultRow.TOP),
    RESULT_REASON(ResultRow.REASON),
    RESULT_ID(ResultRow.ID),
    RESULT_LOGIT(ResultRow.LOGIT),

    SCORE_SIZE(ScoreInput.SIZE),
    SCORE_ROW(ScoreInput.ROW),
    SCORE_TARGET(ScoreInput.TARGET),
    SCORE_FLAGS(ScoreInput.FLAGS),
    SCORE_TOP(ScoreInput.TOP),
    SCORE_STATISTICS(ScoreInput.STATISTICS),
    SCORE_WORD_STARTS(ScoreInput.WORD_STARTS),

    UNUSABLE_LOGIT(Unusable.LOGIT.ordinal()),
    UNUSABLE_ADJUSTED_LOGIT(Unusable.ADJUSTED_LOGIT.ordinal()),
    UNUSABLE_ALL_BANNED(Unusable.ALL_BANNED.ordinal()),
    UNUSABLE_ALL_INFINITE(Unusable.ALL_INFINITE.ordinal()),

    SAMPLE_THREADS,

    PAGED_THREADS(AttentionShape.PAGED_THREADS),
    PAGED_UNROLL(AttentionShape.PAGED_UNROLL),
    PAGED_CLUSTER(AttentionShape.PAGED_CLUSTER),
    PREFILL_QUERIES(AttentionShape.PREFILL_QUERIES),
    PREFILL_WARPS(AttentionShape.PREFILL_WARPS),
    PERSISTENT_HEADS,
    PERSISTENT_STAGES(AttentionShape.PERSISTENT_STAGES),
    PERSISTENT_TOKENS,
    PLAN_ITEM(AttentionPlan.ITEM),
    PLAN_STATE,

    SKINNY_ROWS(ProductKernel.SKINNY_ROWS),
    SKINNY_WARPS(ProductKernel.SKINNY_WARPS),
    WGMMA_ROWS(ProductKernel.WGMMA_ROWS),
    WGMMA_K(ProductKernel.WGMMA_K),
    WGMMA_WARPS(ProductKernel.WGMMA_WARPS),
    WGMMA_THREADS(ProductKernel.WGMMA_THREADS),
    WGMMA_NORMED_THREADS(ProductKernel.WGMMA_NORMED_THREADS),
    /** The kernels of a file of matrix products. */
    KERNELS,

    INT8_HEAD,
    HEAD_ROWS(LmHeadShape.ROWS),
    HEAD_WARPS(LmHeadShape.WARPS),
    HEAD_STRIDE;

    private final Optional<String> fixed;

    KernelConstant() {
        fixed = Optional.empty();
    }

    KernelConstant(int value) {
        fixed = Optional.of(Integer.toString(value));
    }

    /** The value for all models, if it is the same for all. */
    Optional<String> fixed() {
        return fixed;
    }

    /** The compiler option that passes a value. */
    String option(String value) {
        return "-DLT_" + name() + "=" + value;
    }
}
