package io.github.loomtorch.server;

import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.Activation;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.RandomCheckpoint;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/**
 * What streaming over HTTP costs: the same load in this process and over HTTP to another, in tokens a second. Run by
 * hand; {@code docs/benchmarks.md} has the commands.
 *
 * <pre>
 * checkpoint DIR                             writes GPT-2 small's shape with random weights
 * compare DIR DEVICE STREAMS TOKENS RUNS     in pairs: streams read in this process, and over HTTP from this process
 * in-process DIR DEVICE STREAMS TOKENS RUNS  streams read by a thread each
 * http URL STREAMS TOKENS RUNS               the same from {@code loomtorch serve}
 * </pre>
 */
final class StreamLoad {
    private static final int PROMPT_TOKENS = 32;
    private static final int VOCAB_SIZE = 50_257;
    private static final long WARM_UP_NANOS = TimeUnit.SECONDS.toNanos(20);
    private static final int WARM_UP_PAIRS = 6;
    private static final String[] NAMES = {"in process", "over HTTP"};
    private static final Pattern TOKEN_IDS = Pattern.compile("\"token_ids\":\\[([\\d,]*)\\]");

    private StreamLoad() {}

    /** Reads a stream; returns how many events it had, of how many tokens together. */
    private interface Stream {
        Counts read(int[] prompt) throws Exception;
    }

    private record Counts(int events, int tokens) {}

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "checkpoint" ->
                RandomCheckpoint.write(
                        Path.of(args[1]),
                        new Gpt2Config(
                                VOCAB_SIZE,
                                1024,
                                768,
                                12,
                                12,
                                3072,
                                Activation.GELU_TANH,
                                1e-5,
                                true,
                                false,
                                true,
                                List.of(50_256)),
                        DType.F32,
                        1,
                        0.02f);
            case "compare", "in-process" ->
                inProcess(
                        Path.of(args[1]),
                        args[2],
                        integer(args[3]),
                        integer(args[4]),
                        integer(args[5]),
                        args[0].equals("compare"));
            case "http" -> http(URI.create(args[1]), integer(args[2]), integer(args[3]), integer(args[4]));
            default -> throw new IllegalArgumentException("unknown: " + args[0]);
        }
    }

    private static int integer(String text) {
        return Integer.parseInt(text);
    }

    private static void inProcess(Path model, String device, int streams, int tokens, int runs, boolean compare)
            throws Exception {
        if (compare) {
            warmUp(streams);
        }
        try (TextGenerator generator = TextGenerator.builder(model)
                .model(ModelOptions.builder()
                        .device(device)
                        .maxBatchSize(streams)
                        .build())
                .build()) {
            Stream stream = prompt -> read(generator.scheduler(), prompt, tokens);
            if (compare) {
                compare(generator, stream, streams, tokens, runs);
            } else {
                for (int run = 0; run <= runs; run++) { // the first warms up
                    run("in process", run, streams, tokens, stream);
                }
            }
        }
    }

    /** Has the JVM compile both ways of reading, with a model that computes nothing. */
    private static void warmUp(int streams) throws Exception {
        int tokens = 500;
        long end = System.nanoTime() + WARM_UP_NANOS;
        try (ContinuousScheduler scheduler = new ContinuousScheduler(
                        () -> new Engine(
                                new FakeCausalLm(streams, 16, 64 * streams, 1024),
                                new FakeTokenizer(),
                                EngineOptions.defaults()),
                        QueueOptions.defaults());
                HttpServer server = serve(scheduler, new FakeTokenizer(), FakeCausalLm.VOCAB_SIZE)) {
            int[] prompt = {1, 2, 3};
            while (System.nanoTime() < end) {
                readAll(streams, i -> read(scheduler, prompt, tokens));
                readAll(streams, i -> read(server.uri(), prompt, tokens));
            }
        }
    }

    private static HttpServer serve(Scheduler scheduler, Tokenizer tokenizer, int vocabSize) throws IOException {
        HttpServer server = HttpServer.start(
                ServerOptions.builder().port(0).build(), "", new ServerMetrics(MetricNames.LOOMTORCH, "g", 16));
        server.serve(new ServedModel("g", scheduler, tokenizer, 1024, vocabSize, "", false));
        return server;
    }

    private static void compare(TextGenerator generator, Stream stream, int streams, int tokens, int runs)
            throws Exception {
        List<Double> ratios = new ArrayList<>();
        try (HttpServer server = serve(generator.scheduler(), generator.tokenizer(), VOCAB_SIZE)) {
            Stream http = prompt -> read(server.uri(), prompt, tokens);
            for (int run = 0; run < runs + WARM_UP_PAIRS; run++) {
                boolean httpFirst = run % 2 == 1; // so that a machine that slows down does not favour one of them
                double first = run(NAMES[httpFirst ? 1 : 0], 2 * run, streams, tokens, httpFirst ? http : stream);
                double second = run(NAMES[httpFirst ? 0 : 1], 2 * run + 1, streams, tokens, httpFirst ? stream : http);
                if (run >= WARM_UP_PAIRS) {
                    ratios.add(httpFirst ? second / first : first / second);
                }
            }
        }
        Collections.sort(ratios);
        System.out.printf(
                "over HTTP: median %.1f%% of in process, middle half %.1f to %.1f%%%n",
                100 * ratios.get(runs / 2), 100 * ratios.get(runs / 4), 100 * ratios.get(runs * 3 / 4));
    }

    private static void http(URI server, int streams, int tokens, int runs) throws Exception {
        for (int run = 0; run <= runs; run++) { // the first warms up
            run("over HTTP", run, streams, tokens, prompt -> read(server, prompt, tokens));
        }
    }

    private static Counts read(Scheduler scheduler, int[] prompt, int tokens) {
        SamplingParams sampling = SamplingParams.builder()
                .maxNewTokens(tokens)
                .ignoreEos(true)
                .seed(1)
                .build();
        int count = 0;
        for (var unused :
                scheduler.submit(new GenerationRequest(prompt, sampling)).tokens()) {
            count++;
        }
        return new Counts(count, count);
    }

    /** Reads a stream from a plain socket, as cheaply as Java can, and looks at what came only when it has ended. */
    private static Counts read(URI server, int[] prompt, int tokens) throws IOException {
        String body = "{\"prompt\": " + Arrays.toString(prompt) + ", \"max_tokens\": " + tokens
                + ", \"ignore_eos\": true, \"seed\": 1, \"stream\": true, \"return_token_ids\": true}";
        String answer;
        try (Socket socket = new Socket(server.getHost(), server.getPort())) {
            socket.getOutputStream()
                    .write(("POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
                                    + body.length() + "\r\n\r\n" + body)
                            .getBytes(StandardCharsets.US_ASCII));
            answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        }
        List<String> events =
                TOKEN_IDS.matcher(answer).results().map(ids -> ids.group(1)).toList();
        return new Counts(
                events.size(),
                events.stream()
                        .mapToInt(ids -> ids.isEmpty() ? 0 : ids.split(",").length)
                        .sum());
    }

    /** Reads some streams at once and prints how fast; returns the seconds that it took. */
    private static double run(String how, int run, int streams, int tokens, Stream stream) throws Exception {
        long cpu = cpuNanos();
        long start = System.nanoTime();
        Counts counts = readAll(streams, i -> stream.read(prompt(run * streams + i)));
        double seconds = (System.nanoTime() - start) / 1e9;
        int read = counts.tokens();
        if (read != streams * tokens) {
            throw new IllegalStateException("expected " + streams * tokens + " tokens, got " + read);
        }
        System.out.printf(
                "%s: %d streams of %d tokens: %.1f tokens/s, %.2f tokens an event, %.0f%% of a core%n",
                how,
                streams,
                tokens,
                read / seconds,
                (double) read / counts.events(),
                (cpuNanos() - cpu) / seconds / 1e7);
        return seconds;
    }

    /** Reads one of some streams. */
    private interface Reader {
        Counts read(int stream) throws Exception;
    }

    private static Counts readAll(int streams, Reader reader) throws Exception {
        try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            List<Callable<Counts>> tasks = IntStream.range(0, streams)
                    .mapToObj(i -> (Callable<Counts>) () -> reader.read(i))
                    .toList();
            int events = 0;
            int tokens = 0;
            for (Future<Counts> one : threads.invokeAll(tasks)) {
                events += one.get().events();
                tokens += one.get().tokens();
            }
            return new Counts(events, tokens);
        }
    }

    private static int[] prompt(int seed) {
        return new Random(seed).ints(PROMPT_TOKENS, 0, VOCAB_SIZE - 1).toArray();
    }

    /** Of this process: with {@code http} the client's alone, {@code in-process} the model's too. */
    private static long cpuNanos() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
                .getProcessCpuTime();
    }
}
