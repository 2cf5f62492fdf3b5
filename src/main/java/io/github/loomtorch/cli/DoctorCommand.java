package io.github.loomtorch.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.doctor.Check;
import io.github.loomtorch.doctor.Doctor;
import io.github.loomtorch.doctor.Machine;
import io.github.loomtorch.doctor.Natives;
import io.github.loomtorch.doctor.SelfTest;
import io.github.loomtorch.model.Gpt2Config;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

@Command(
        name = "doctor",
        header = "Tells what this machine has and lacks to run a model, and how many requests fit.",
        description = {
            "Looks at the system, Java, processor, memory and limits of the container, the GPUs, their driver and each CUDA"
                    + " library, libtorch and the cache folder; multiplies matrices on each device, and lets the embedded model"
                    + " generate two tokens.",
            "Each line is ok, a note (it works, but could be better) or a problem, with what to do. The exit status is 1 if"
                    + " there is a problem."
        },
        footer = {
            "  loomtorch doctor",
            "  loomtorch doctor --model openai-community/gpt2-xl",
            "  loomtorch doctor --json"
        })
final class DoctorCommand implements Callable<Integer> {
    private static final ObjectMapper JSON = new ObjectMapper();

    @Spec
    private CommandSpec spec;

    @Mixin
    private ModelFolderOptions model;

    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    private final List<Check> checks = new ArrayList<>();

    @Override
    public Integer call() throws IOException {
        // The model first: a wrong name is an error. Of the rest nothing is, and what is found is printed at once, in
        // case
        // that native code ends the process.
        Gpt2Config config = model.isNamed() ? model.open().config() : null;
        Machine machine = Machine.here();
        Doctor.machine(machine).forEach(this::add);
        Natives natives = Natives.here(machine);
        Doctor.natives(machine, natives, Versions.libtorch()).forEach(this::add);
        if (natives.loadFailure().isEmpty()) {
            add(Doctor.selfTest(SelfTest.run(DoctorCommand::tales)));
            if (config != null) {
                add(Doctor.capacity(model.name(), config, machine, natives));
            }
        }
        Check.Status status = Doctor.worst(checks);
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            out.println(object(status));
        } else {
            out.println(
                    "Out of memory, low throughput, high latency, timeouts, padding: see docs/guide.md#troubleshooting");
        }
        return status == Check.Status.PROBLEM ? CommandLine.ExitCode.SOFTWARE : CommandLine.ExitCode.OK;
    }

    private static TextGenerator tales() throws IOException {
        return TextGenerator.load(ModelFolderOptions.embedded());
    }

    private void add(Check check) {
        checks.add(check);
        if (!json) {
            PrintWriter out = spec.commandLine().getOut();
            out.printf("%-8s %-20s %s%n", name(check.status()), check.name(), check.value());
            if (!check.advice().isEmpty()) {
                out.printf("%-29s -> %s%n", "", check.advice());
            }
            out.flush();
        }
    }

    private ObjectNode object(Check.Status status) {
        ObjectNode object = JSON.createObjectNode();
        object.put("loomtorch", Versions.loomtorch());
        object.put("status", name(status));
        ArrayNode array = object.putArray("checks");
        for (Check check : checks) {
            array.addObject()
                    .put("name", check.name())
                    .put("status", name(check.status()))
                    .put("value", check.value())
                    .put("advice", check.advice());
        }
        return object;
    }

    private static String name(Check.Status status) {
        return status.name().toLowerCase(Locale.ROOT);
    }
}
