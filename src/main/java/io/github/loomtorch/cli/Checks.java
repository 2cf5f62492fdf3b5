package io.github.loomtorch.cli;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.IOException;
import java.util.Arrays;

/** Checks that no part of the library makes. */
final class Checks {
    private Checks() {}

    static void atLeast(int least, int value, String name) {
        if (value < least) {
            throw new IllegalArgumentException(name + " must be >= " + least + ", got " + value);
        }
    }

    /**
     * Checks that a model knows the ids of a prompt.
     *
     * @throws IOException if it does not, as the tokenizer belongs to another model
     */
    static void fits(int[] promptIds, Tokenizer tokenizer, Gpt2Config config) throws IOException {
        int max = Arrays.stream(promptIds).max().orElse(0);
        if (max >= config.vocabSize()) {
            throw new IOException("the tokenizer must be the model's: it has " + tokenizer.vocabSize()
                    + " ids, and the prompt has id " + max + ", but the model has only " + config.vocabSize()
                    + " ids; name the model's own tokenizer with --tokenizer");
        }
    }
}
