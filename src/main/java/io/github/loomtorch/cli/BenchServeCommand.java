package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Arrivals;
import io.github.loomtorch.bench.HttpTarget;
import io.github.loomtorch.bench.Measurement;
import io.github.loomtorch.bench.PlannedRequest;
import io.github.loomtorch.bench.TraceFile;
import io.github.loomtorch.bench.Workload;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.options.QueueOptions;
import java.io.IOException;
import java.io.PrintWriter;
import java.net.URI;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.SplittableRandom;
import java.util.function.Function;
import java.util.function.IntFunction;
import java.util.random.RandomGenerator;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;

@Command(
        name = "serve",
        header = "Measures schedulers, or a server over HTTP, under requests that arrive at a rate.",
        description = {
            "An open loop: a request is sent when its time has come, whether or not others have ended. Latencies count"
                    + " from that time, even if it is sent later. Lengths that are drawn or from a trace are cut to"
                    + " the model's context.",
            "With --url, the server may be any with OpenAI's completions: loomtorch serve, vLLM, llama.cpp."
        },
        footer = {
            "  loomtorch bench serve --request-rate 20 --requests 200",
            "  loomtorch bench serve --shape gpt2 --scheduler continuous --trace trace.csv --report r.html",
            "  loomtorch bench serve --url http://127.0.0.1:8000 --request-rate 20 --max-concurrency 64"
        })
final class BenchServeCommand extends RequestBenchmark {
    /** The names of the options, beside those of the model, that a server's benchmark cannot have. */
    private static final List<String> IN_PROCESS = List.of(
            "--scheduler",
            "--prompt-file",
            "--speculate",
            "--max-prefill-tokens-beside-decode",
            "--max-batch-size",
            "--max-queued-requests",
            "--timeout");

    private static final List<String> OF_SERVER = List.of("--served-model", "--vocab-size", "--api-key");

    private static final int DEFAULT_REQUESTS = 100;
    private static final int DEFAULT_BATCH_SIZE = 16;
    private static final int DEFAULT_CONTEXT_LENGTH = 1024;

    @Mixin
    private SchedulerBenchOptions options;

    @Option(
            names = "--url",
            paramLabel = "URL",
            description = "A server to measure instead of schedulers of this process, such as http://127.0.0.1:8000.")
    private @Nullable URI url;

    @Option(
            names = "--served-model",
            paramLabel = "NAME",
            description = "The server's model (default: the first that it lists).")
    private @Nullable String servedModel;

    @Option(
            names = "--vocab-size",
            paramLabel = "N",
            description = "Prompts for the server are random token ids below this (default: ${DEFAULT-VALUE}).")
    private int vocabSize = 50257;

    @Option(
            names = "--api-key",
            paramLabel = "KEY",
            description = "Sent to the server (default: environment variable OPENAI_API_KEY).")
    private @Nullable String apiKey = System.getenv("OPENAI_API_KEY");

    @Option(names = "--requests", paramLabel = "N", description = "How many (default: 100, or all of the trace).")
    private @Nullable Integer requests;

    @Option(
            names = "--request-rate",
            paramLabel = "N",
            converter = RateConverter.class,
            description = "Requests a second, or inf for all at once (default: inf).")
    private double requestRate = Double.POSITIVE_INFINITY;

    @Option(
            names = "--burstiness",
            paramLabel = "F",
            description = "Shape of the gamma distribution of the gaps between arrivals: 1 is a Poisson process, less"
                    + " comes in bursts, more evenly (default: ${DEFAULT-VALUE}).")
    private double burstiness = 1;

    @Option(
            names = "--ramp-up",
            paramLabel = "FORM",
            converter = NamedConverter.OfRamp.class,
            description = "linear or exponential: let the rate go from --ramp-up-start-rate to --ramp-up-end-rate.")
    private Arrivals.@Nullable Ramp rampUp;

    @Option(names = "--ramp-up-start-rate", paramLabel = "N", description = "Requests a second at the first request.")
    private @Nullable Double rampUpStartRate;

    @Option(names = "--ramp-up-end-rate", paramLabel = "N", description = "Requests a second at the last request.")
    private @Nullable Double rampUpEndRate;

    @Option(
            names = "--trace",
            paramLabel = "FILE",
            description = "CSV of arrivals and lengths, instead of a rate: columns arrival_seconds, input_tokens and"
                    + " output_tokens.")
    private @Nullable Path trace;

    @Option(
            names = "--max-concurrency",
            paramLabel = "N",
            description = "Most requests in flight; more wait, and their latency counts (default: no bound).")
    private int maxConcurrency = Integer.MAX_VALUE;

    @Option(
            names = "--shared-prefix",
            paramLabel = "F",
            description = "Share of each prompt that all have in common, in [0, 1] (default: ${DEFAULT-VALUE}).")
    private double sharedPrefix = 0;

    @Option(
            names = "--warm-up-requests",
            paramLabel = "N",
            description = "Requests before the others, all at once, not counted (default: ${DEFAULT-VALUE}).")
    private int warmUpRequests = 0;

    @Option(names = "--runs", paramLabel = "N", description = "How often to measure (default: ${DEFAULT-VALUE}).")
    private int runs = 1;

    @Option(
            names = "--max-batch-size",
            paramLabel = "N",
            description = "Most sequences that run at once (default: ${DEFAULT-VALUE}).")
    private int maxBatchSize = DEFAULT_BATCH_SIZE;

    @Option(
            names = "--max-queued-requests",
            paramLabel = "N",
            description = "Most requests that wait in the continuous scheduler; more are rejected (default: no bound).")
    private int maxQueuedRequests = QueueOptions.unbounded().maxQueuedRequests();

    @Mixin
    private TimeoutOptions timeout = new TimeoutOptions(0.05);

    @Override
    Report measure(PrintWriter out) throws IOException {
        check();
        QueueOptions queue =
                QueueOptions.builder().maxQueuedRequests(maxQueuedRequests).build();
        Function<RandomGenerator, List<PlannedRequest>> load = load();
        String title = url == null ? "Schedulers under load" : "Server under load";
        Report report = new Report(this, "serve", title, OptionalLong.of(options.seed()), out);
        describe(report);
        SchedulerBenchOptions.Plan plan = new SchedulerBenchOptions.Plan(
                load, maxConcurrency, sharedPrefix, warmUpRequests, runs, maxBatchSize, timeout.timeout(), queue);
        if (url == null) {
            options.measure(report, plan);
        } else {
            measureServer(report, plan, url);
        }
        return report;
    }

    private void check() {
        if (requests != null) {
            Checks.atLeast(1, requests, "requests");
        }
        Checks.atLeast(1, maxConcurrency, "maxConcurrency");
        Checks.atLeast(0, warmUpRequests, "warmUpRequests");
        Checks.atLeast(1, runs, "runs");
        Checks.atLeast(1, vocabSize, "vocabSize");
        if (!(sharedPrefix >= 0 && sharedPrefix <= 1)) {
            throw new IllegalArgumentException("sharedPrefix must be in [0, 1], got " + sharedPrefix);
        }
        refuse(
                "--trace",
                "--request-rate",
                "--burstiness",
                "--ramp-up",
                "--input-len",
                "--output-len",
                "--prompt-file");
        refuse("--ramp-up", "--request-rate");
        require("--ramp-up", "--ramp-up-start-rate", "--ramp-up-end-rate");
        require("--url", OF_SERVER.toArray(String[]::new));
        options.check(maxBatchSize);
        timeout.timeout();
        positive(rampUpStartRate, "rampUpStartRate");
        positive(rampUpEndRate, "rampUpEndRate");
        if (url != null) {
            refuse("--url", inProcess().toArray(String[]::new));
        }
        if (rampUp != null && (rampUpStartRate == null || rampUpEndRate == null)) {
            throw new IllegalArgumentException(
                    "rampUp must be given together with --ramp-up-start-rate and --ramp-up-end-rate");
        }
    }

    @Override
    Map<String, String> settings(boolean given) {
        Map<String, String> settings = super.settings(given);
        for (String option : url == null ? OF_SERVER : inProcess()) {
            settings.remove(option.substring("--".length()));
        }
        return settings;
    }

    /** The names of the options that a server's benchmark cannot have. */
    private List<String> inProcess() {
        CommandSpec scheduling =
                Objects.requireNonNull(commandLine().getCommandSpec().mixins().get("options"));
        Stream<String> ofModel = Objects.requireNonNull(scheduling.mixins().get("model")).options().stream()
                .map(OptionSpec::longestName);
        return Stream.concat(ofModel, IN_PROCESS.stream()).toList();
    }

    private static void positive(@Nullable Double value, String name) {
        if (value != null && !(value > 0)) {
            throw new IllegalArgumentException(name + " must be > 0, got " + value);
        }
    }

    private void refuse(String option, String... others) {
        for (String other : others) {
            if (isGiven(option) && isGiven(other)) {
                throw new IllegalArgumentException(option + " must not be given together with " + other);
            }
        }
    }

    private void require(String option, String... others) {
        for (String other : others) {
            if (isGiven(other) && !isGiven(option)) {
                throw new IllegalArgumentException(other + " must be given together with " + option);
            }
        }
    }

    /** Draws the requests of a run, or takes them from the trace. */
    private Function<RandomGenerator, List<PlannedRequest>> load() throws IOException {
        if (trace != null) {
            List<PlannedRequest> all = TraceFile.read(trace);
            if (requests != null && requests > all.size()) {
                throw new IllegalArgumentException(
                        "requests must be <= the " + all.size() + " of the trace, got " + requests);
            }
            List<PlannedRequest> first = requests == null ? all : all.subList(0, requests);
            return random -> first;
        }
        Arrivals arrivals = rampUp == null || rampUpStartRate == null || rampUpEndRate == null
                ? Arrivals.at(requestRate, burstiness)
                : new Arrivals(rampUp, rampUpStartRate, rampUpEndRate, burstiness);
        return options.drawn(requests == null ? DEFAULT_REQUESTS : requests, arrivals);
    }

    private void describe(Report report) throws IOException {
        if (trace != null) {
            report.workload("trace", String.valueOf(trace.getFileName()));
            report.workload("sampling", Report.describe(options.sampling()));
        } else {
            options.describe(report);
            if (rampUp == null) {
                report.workload("request-rate", requestRate == Double.POSITIVE_INFINITY ? "inf" : requestRate);
            } else {
                report.workload(
                        "ramp-up", NamedConverter.nameOf(rampUp) + " " + rampUpStartRate + " to " + rampUpEndRate);
            }
            report.workload("burstiness", burstiness);
        }
        report.workload("requests", requests != null ? requests : trace != null ? "all" : DEFAULT_REQUESTS);
        report.workload("max-concurrency", maxConcurrency == Integer.MAX_VALUE ? "no bound" : maxConcurrency);
        report.workload("shared-prefix", sharedPrefix);
    }

    private void measureServer(Report report, SchedulerBenchOptions.Plan plan, URI server) throws IOException {
        try (HttpTarget target =
                new HttpTarget(server, Optional.ofNullable(servedModel), Optional.ofNullable(apiKey))) {
            int contextLength = target.contextLength().orElse(DEFAULT_CONTEXT_LENGTH);
            if (trace == null) {
                options.checkContext(contextLength);
            }
            report.setting("server", server.toString());
            report.setting("model", target.model());
            report.environment();
            RandomGenerator random = new SplittableRandom(options.seed());
            IntFunction<int[]> prompts = Workload.randomPrompts(vocabSize, contextLength, plan.sharedPrefix(), random);
            List<Measurement> measured = new ArrayList<>();
            for (int run = 0; run < plan.runs(); run++) {
                List<PlannedRequest> requests = plan.requests().apply(random);
                if (run == 0) {
                    List<PlannedRequest> warmUp = PlannedRequest.repeat(requests, plan.warmUpRequests());
                    workload(warmUp, prompts, contextLength, random).run(target, Clock.system(), () -> {});
                }
                try (Progress progress = new Progress("run " + (run + 1), requests.size(), System.err)) {
                    measured.add(workload(requests, prompts, contextLength, random)
                            .run(target, Clock.system(), progress::step));
                }
            }
            report.measured(
                    Map.of("scheduler", "server"), measured, options.goodput().limits());
            report.printResults();
        }
    }

    private Workload workload(
            List<PlannedRequest> requests, IntFunction<int[]> prompts, int contextLength, RandomGenerator random) {
        return Workload.of(requests, prompts, contextLength, maxConcurrency, options.sampling(), random);
    }
}
