package io.github.loomtorch.cli;

import io.github.loomtorch.model.SafetensorsConverter;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

@Command(
        name = "convert",
        header = "Writes model.safetensors beside a pytorch_model.bin or nanoGPT's ckpt.pt.",
        description =
                "All commands read these files too. Nothing in them is executed, here or there. An existing model.safetensors is not replaced.",
        footer = {"  loomtorch convert DialoGPT-medium", "  loomtorch convert nanoGPT/out-shakespeare"})
final class ConvertCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Parameters(paramLabel = "DIR", description = "Directory with config.json and pytorch_model.bin, or with ckpt.pt.")
    private Path directory;

    @Override
    public Integer call() throws IOException {
        boolean written = SafetensorsConverter.convert(directory);
        Path file = directory.resolve("model.safetensors");
        PrintWriter out = spec.commandLine().getOut();
        if (written) {
            out.printf(Locale.ROOT, "%s: %.1f MB%n", file, Files.size(file) / 1e6);
        } else {
            out.println(file + " is up to date");
        }
        return 0;
    }
}
