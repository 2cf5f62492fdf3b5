package io.github.loomtorch.cli;

import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** Which tokenizer. */
final class TokenizerOptions {
    private static final Path DEFAULT = Path.of("tokenizer");

    @Option(
            names = "--tokenizer",
            paramLabel = "DIR",
            description =
                    "Directory with vocab.json and merges.txt, or tokenizer.json (default: the model's directory if it has them,"
                            + " else tokenizer).")
    private Path tokenizer;

    /** The tokenizer that was named, else the model's, else the default. */
    Tokenizer load(ModelDirectory model) throws IOException {
        return load(tokenizer == null ? model.tokenizerDirectory(DEFAULT) : tokenizer);
    }

    /** The tokenizer that was named, else the default. */
    Tokenizer load() throws IOException {
        return load(tokenizer == null ? DEFAULT : tokenizer);
    }

    /** Whether the tokenizer was named, or lies beside the model. */
    boolean isOwn(ModelDirectory model) {
        return tokenizer != null || model.tokenizerDirectory(DEFAULT) != DEFAULT;
    }

    /** Whether there is something to load if {@link #isOwn} is false. */
    static boolean hasDefault() {
        return Files.isDirectory(DEFAULT);
    }

    private static Tokenizer load(Path path) throws IOException {
        if (path == DEFAULT && !hasDefault()) {
            throw new IOException(path.toAbsolutePath()
                    + ": expected a directory with a tokenizer, got nothing; name one with --tokenizer");
        }
        return BpeTokenizer.load(path);
    }
}
