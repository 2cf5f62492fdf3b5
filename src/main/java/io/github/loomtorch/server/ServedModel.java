package io.github.loomtorch.server;

import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.util.Objects;

/**
 * The model that a server serves. Immutable.
 *
 * @param name as clients call it
 * @param scheduler runs the requests; owned by whoever made it
 * @param tokenizer of the model
 * @param contextLength most tokens of a prompt and its continuation together, &gt;= 1
 * @param vocabSize V of the model, &gt;= 1; the tokenizer may have fewer ids
 * @param fingerprint names what decides the tokens: version, weights, dtype, device
 * @param joinsTurns whether the model takes chats: their messages, each followed by end-of-text
 */
public record ServedModel(
        String name,
        Scheduler scheduler,
        Tokenizer tokenizer,
        int contextLength,
        int vocabSize,
        String fingerprint,
        boolean joinsTurns) {

    /** Validates. */
    public ServedModel {
        Objects.requireNonNull(name, "name");
        Objects.requireNonNull(scheduler, "scheduler");
        Objects.requireNonNull(tokenizer, "tokenizer");
        Objects.requireNonNull(fingerprint, "fingerprint");
        if (contextLength < 1) {
            throw new IllegalArgumentException("contextLength must be >= 1, got " + contextLength);
        }
    }
}
