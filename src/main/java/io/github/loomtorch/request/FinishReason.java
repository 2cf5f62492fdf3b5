package io.github.loomtorch.request;

/** Why a generation completed. One that fails does not complete: its future has the cause. */
public enum FinishReason {
    /** The model produced an end-of-text token, a stop token or a stop string. */
    STOP,
    /** {@link SamplingParams#maxNewTokens()} tokens were produced, and the prompt is scored if that was asked for. */
    LENGTH,
    /** The caller cancelled it; the completion holds the tokens so far. */
    CANCELLED,
    /** Its deadline passed; the completion holds the tokens so far. */
    DEADLINE
}
