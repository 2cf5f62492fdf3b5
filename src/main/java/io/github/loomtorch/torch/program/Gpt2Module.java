package io.github.loomtorch.torch.program;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.model.RandomWeights;
import io.github.loomtorch.model.StackedWeights;
import io.github.loomtorch.model.TorchScriptArchive;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A model before it is on a device: its weights, or an archive whose program is trusted. Does not need libtorch.
 * Immutable.
 *
 * @param config that fits the weights
 * @param weights empty if the program of an archive runs
 * @param trusted the archive whose program runs; empty if there are weights
 */
public record Gpt2Module(Gpt2Config config, Optional<Gpt2Weights> weights, Optional<Path> trusted) {
    private static final Logger LOG = LoggerFactory.getLogger(Gpt2Module.class);

    /**
     * The model of a directory: its weights where it has some, otherwise those of its {@code model.ts}, or that itself.
     *
     * @param trustModelTs whether a program in {@code model.ts} that is not this version's is executed
     * @throws IOException if a file is missing, malformed or does not fit {@code config.json}
     */
    public static Gpt2Module open(ModelDirectory directory, boolean trustModelTs) throws IOException {
        if (directory.hasWeights()) {
            return of(directory.weights());
        }
        TorchScriptArchive archive = directory.openTorchScript();
        boolean tied =
                directory.config().tieWordEmbeddings() && !archive.tensors().containsKey("lm_head");
        Gpt2Config config = directory.config().withTieWordEmbeddings(tied);
        if (!archive.program().equals(TorchScriptSource.archived(config))) {
            if (trustModelTs) {
                return new Gpt2Module(config, Optional.empty(), Optional.of(archive.path()));
            }
            LOG.warn(
                    "{}: its program is not that of this version for config.json and is ignored; its weights are used",
                    archive.path());
        }
        return of(StackedWeights.of(archive, config));
    }

    /** A model with random weights. */
    public static Gpt2Module random(Gpt2Config config, long seed) {
        return of(RandomWeights.of(config, seed));
    }

    private static Gpt2Module of(Gpt2Weights weights) {
        return new Gpt2Module(weights.config(), Optional.of(weights), Optional.empty());
    }
}
