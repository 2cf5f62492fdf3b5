package io.github.loomtorch.cli;

import io.github.loomtorch.model.ModelDirectory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** Which model. */
final class ModelFolderOptions {
    private static final Path DEFAULT = Path.of("models", "tales");

    @Option(
            names = "--model",
            paramLabel = "DIR",
            description = "Model directory: config.json with model.safetensors, pytorch_model.bin (each in one file or"
                    + " sharded with an index) or an exported model.ts; or nanoGPT's ckpt.pt alone (default:"
                    + " models/tales).")
    private Path model;

    boolean isNamed() {
        return model != null;
    }

    ModelDirectory open() throws IOException {
        if (model == null && !Files.isDirectory(DEFAULT)) {
            throw new IOException(
                    DEFAULT.toAbsolutePath() + ": expected a model directory, got nothing; name one with --model");
        }
        return ModelDirectory.open(model == null ? DEFAULT : model);
    }
}
