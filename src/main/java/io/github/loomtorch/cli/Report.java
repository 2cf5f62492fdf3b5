package io.github.loomtorch.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import io.github.loomtorch.bench.Distribution;
import io.github.loomtorch.bench.Summary;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.torch.TorchScriptGpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.commons.csv.CSVFormat;

/** A benchmark's settings and numbers, as text, JSON and CSV. */
final class Report {
    private final PrintWriter out;
    private final Map<String, String> settings = new LinkedHashMap<>();
    private final Map<String, Summary> summaries = new LinkedHashMap<>();

    Report(PrintWriter out, String title) {
        this.out = out;
        out.println(title);
    }

    void setting(String name, String value) {
        settings.put(name, value);
        out.printf("  %-10s %s%n", name, value);
    }

    void environment(TorchScriptGpt2 model) {
        setting("device", model.device());
        setting("dtype", NamedConverter.nameOf(model.dtype()));
        setting("machine", Versions.machine());
        setting("Java", Versions.java());
        setting("libtorch", Versions.libtorch());
        setting("loomtorch", Versions.loomtorch());
    }

    static String describe(SamplingParams params) {
        return params.maxNewTokens() + " new tokens, temperature " + params.temperature() + ", top-k " + params.topK() + ", top-p "
                + params.topP() + ", min-p " + params.minP()
                + (params.seed().isPresent() ? ", seed " + params.seed().getAsLong() : "");
    }
}
