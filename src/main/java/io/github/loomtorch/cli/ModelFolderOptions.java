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
            description = "Directory with config.json and model.safetensors or model.ts (default: models/tales).")
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
