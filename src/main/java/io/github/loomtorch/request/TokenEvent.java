package io.github.loomtorch.request;

import java.util.Objects;
import java.util.Optional;

/**
 * One sampled token, as a stream sees it. Immutable.
 *
 * @param index position among the request's output tokens, from 0
 * @param tokenId in {@code [0, V)}
 * @param text what this token adds to the text; empty while a character or a possible stop string is still incomplete.
 *     The texts of all events, in order, are {@link Completion#text()}, but for what was incomplete when a generation
 *     ended without a further token: cancelled or expired after it was preempted
 * @param logprobs of the token; empty if {@link SamplingParams#topLogprobs()} is
 */
public record TokenEvent(int index, int tokenId, String text, Optional<TokenLogprobs> logprobs) {

    /** Validates. */
    public TokenEvent {
        Objects.requireNonNull(text, "text");
        Objects.requireNonNull(logprobs, "logprobs");
    }
}
