package io.github.loomtorch.cli;

import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.torch.program.TorchScriptExporter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

@Command(
        name = "export",
        header = "Writes model.ts, the TorchScript form of a model, beside its weights.",
        description =
                "Any libtorch and Python's torch.jit.load load it. A directory with config.json and model.ts needs no weights.",
        footer = "  loomtorch export --model models/tales")
final class ExportCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Mixin
    private ModelFolderOptions model;

    @Override
    public Integer call() throws IOException {
        ModelDirectory directory = model.open();
        if (!directory.hasWeights()) {
            throw new IOException(directory.path() + ": expected weights, got model.ts only");
        }
        long startNanos = System.nanoTime();
        Path file = TorchScriptExporter.export(directory);
        double seconds = (System.nanoTime() - startNanos) / 1e9;
        spec.commandLine()
                .getOut()
                .printf(Locale.ROOT, "%s: %.1f MB, exported in %.1f s%n", file, Files.size(file) / 1e6, seconds);
        return 0;
    }
}
