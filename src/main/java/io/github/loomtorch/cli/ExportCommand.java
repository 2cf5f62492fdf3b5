package io.github.loomtorch.cli;

import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.torch.program.TorchScriptExporter;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

@Command(
        name = "export",
        header = "Writes model.ts, the TorchScript form of a model, beside its weights.",
        description =
                "The other commands do it too when they first load a model. A directory with config.json and model.ts needs no weights.",
        footer = {"  loomtorch export --model models/tales", "  loomtorch export --model gpt2 --force"})
final class ExportCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Mixin
    private ModelFolderOptions model;

    @Option(names = "--force", description = "Write it even if it is up to date.")
    private boolean force;

    @Override
    public Integer call() throws IOException {
        ModelDirectory directory = model.open();
        if (!directory.hasWeights()) {
            throw new IOException(directory.path() + ": expected weights, got model.ts only");
        }
        PrintWriter out = spec.commandLine().getOut();
        Path file = directory.torchScript();
        if (!force && TorchScriptExporter.isCurrent(directory)) {
            out.println(file + " is up to date");
        } else {
            long startNanos = System.nanoTime();
            TorchScriptExporter.export(directory);
            double seconds = (System.nanoTime() - startNanos) / 1e9;
            out.printf(Locale.ROOT, "%s: %.1f MB, exported in %.1f s%n", file, Files.size(file) / 1e6, seconds);
        }
        return 0;
    }
}
