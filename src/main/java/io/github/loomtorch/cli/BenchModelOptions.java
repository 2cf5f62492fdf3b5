package io.github.loomtorch.cli;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.util.List;
import java.util.Locale;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The model to measure: from files, or with random weights. */
final class BenchModelOptions {
    @Mixin
    private ModelFolderOptions model;

    @Option(
            names = "--shape",
            paramLabel = "NAME",
            description =
                    "Instead of a model's files, random weights in the shape of gpt2, gpt2-medium, gpt2-large, gpt2-xl or"
                            + " distilgpt2.")
    private String shape;

    @Mixin
    private DeviceOptions device;

    ModelOptions torch(int maxBatchSize) {
        checkModel();
        return device.torch(maxBatchSize);
    }

    /** As {@link #torch}, of a replica on each device. */
    List<ModelOptions> replicas(int maxBatchSize) {
        checkModel();
        return device.replicas(maxBatchSize);
    }

    private void checkModel() {
        if (shape != null && model.isNamed()) {
            throw new IllegalArgumentException("shape must not be given together with --model");
        }
    }

    Gpt2Config config() throws IOException {
        if (shape == null) {
            return model.open().config();
        }
        try {
            return Gpt2Config.shape(shape);
        } catch (IllegalArgumentException e) {
            String rule = String.valueOf(e.getMessage()).substring("name".length());
            throw new IllegalArgumentException("shape" + rule, e);
        }
    }

    Gpt2 load(ModelOptions options) throws IOException {
        return shape == null ? Gpt2Loader.load(model.open(), options) : Gpt2Loader.random(config(), 0, options);
    }

    Tokenizer load(TokenizerOptions tokenizer) throws IOException {
        return shape == null ? tokenizer.load(model.open()) : tokenizer.load();
    }

    /** Name and size of the model. */
    String describe() throws IOException {
        Gpt2Config config = config();
        return String.format(
                Locale.ROOT,
                "%s, %d layers, width %d, %.1fM parameters",
                shape == null ? model.open().path() : shape + " with random weights",
                config.layerCount(),
                config.hiddenSize(),
                config.parameterCount() / 1e6);
    }
}
