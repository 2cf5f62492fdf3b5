package io.github.loomtorch.cli;

import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import picocli.CommandLine.Option;

/** Which tokenizer. */
final class TokenizerOptions {
    @Option(
            names = "--tokenizer",
            paramLabel = "DIR",
            description =
                    "Directory with vocab.json and merges.txt, or tokenizer.json (default: the model's directory if it has them,"
                            + " else GPT-2's own).")
    private Path tokenizer;

    /** The tokenizer that was named, else the model's, else GPT-2's. */
    Tokenizer load(ModelDirectory model) throws IOException {
        return tokenizer == null
                ? BpeTokenizer.ofModel(model.path(), model.config().vocabSize())
                : BpeTokenizer.load(tokenizer);
    }

    /** The tokenizer that was named, else GPT-2's. */
    Tokenizer load() throws IOException {
        return tokenizer == null ? BpeTokenizer.gpt2() : BpeTokenizer.load(tokenizer);
    }

    /** The tokenizer that was named. */
    Optional<Path> named() {
        return Optional.ofNullable(tokenizer);
    }

    /** Whether the tokenizer was named, or lies beside the model. */
    boolean isOwn(ModelDirectory model) {
        return tokenizer != null || BpeTokenizer.isIn(model.path());
    }
}
