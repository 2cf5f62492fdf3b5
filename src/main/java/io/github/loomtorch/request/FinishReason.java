package io.github.loomtorch.request;

/** Why a generation ended. */
public enum FinishReason {
    /** The model produced the end-of-text token, a stop token or a stop string. */
    STOP,
    /** {@link SamplingParams#maxNewTokens()} tokens were produced. */
    LENGTH,
    /** The caller cancelled it; what was produced until then is returned. */
    CANCELLED,
    /** Its deadline passed; what was produced until then is returned. */
    DEADLINE,
    /** It failed; its future completes exceptionally with the cause. */
    ERROR
}
