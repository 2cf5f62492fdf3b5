package io.github.loomtorch.cli;

import io.github.loomtorch.model.ModelDirectory;
import java.io.IOException;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** Which model, and which tokenizer. */
final class ModelOptions {
    private static final Path MODEL = Path.of("models", "tales");
    private static final Path TOKENIZER = Path.of("tokenizer");

    @Option(
            names = "--model",
            paramLabel = "DIR",
            description = "Directory with config.json and model.safetensors or model.ts (default: models/tales).")
    private Path model;

    @Option(
            names = "--tokenizer",
            paramLabel = "DIR",
            description = "Directory with vocab.json and merges.txt, or tokenizer.json (default: the model's directory if it has them,"
                    + " else tokenizer).")
    private Path tokenizer;

    boolean isModelNamed() {
        return model != null;
    }

    ModelDirectory open() throws IOException {
        return ModelDirectory.open(model == null ? MODEL : model);
    }

    /** Whether the tokenizer was named, or lies beside the model. */
    boolean hasOwnTokenizer(ModelDirectory directory) {
        return tokenizer != null || directory.tokenizerDirectory(TOKENIZER) != TOKENIZER;
    }

    /** Where the model's tokenizer is. */
    Path tokenizerOf(ModelDirectory directory) {
        return tokenizer == null ? directory.tokenizerDirectory(TOKENIZER) : tokenizer;
    }

    /** Where the tokenizer is; a model is looked at only if one was named. */
    Path tokenizer() throws IOException {
        return tokenizer == null && model == null ? TOKENIZER : tokenizer == null ? tokenizerOf(open()) : tokenizer;
    }
}
