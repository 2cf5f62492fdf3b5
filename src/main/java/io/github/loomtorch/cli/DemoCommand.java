package io.github.loomtorch.cli;

import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.ModelOptions;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Help;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

@Command(
        name = "demo",
        header = "Shows the three schedulers on five prompts.",
        description =
                "First the naive scheduler, then the asynchronous naive one and the continuous one, whose texts stream.",
        footer = {"  loomtorch demo", "  loomtorch demo --model gpt2 --device cuda"})
final class DemoCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Mixin
    private ModelFolderOptions model;

    @Mixin
    private TokenizerOptions tokenizer;

    @Mixin
    private DeviceOptions device;

    @Override
    public Integer call() throws IOException {
        ModelOptions options = device.torch(Demo.BATCH_SIZE);
        ModelDirectory directory = model.open();
        PrintWriter out = spec.commandLine().getOut();
        new Demo(directory, tokenizer.load(directory), options, out, Help.Ansi.AUTO.enabled()).run();
        return 0;
    }
}
