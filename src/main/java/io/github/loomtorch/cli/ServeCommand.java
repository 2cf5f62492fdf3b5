package io.github.loomtorch.cli;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.ChatTemplate;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.SchedulerOptions;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.scheduler.EngineFactory;
import io.github.loomtorch.scheduler.Schedulers;
import io.github.loomtorch.server.GpuUse;
import io.github.loomtorch.server.HttpServer;
import io.github.loomtorch.server.MetricNames;
import io.github.loomtorch.server.ServedModel;
import io.github.loomtorch.server.ServerMetrics;
import io.github.loomtorch.server.ServerOptions;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.cuda.GpuReader;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "serve",
        header = "Serves OpenAI's completions and chats over HTTP.",
        description = {
            "Listens, loads the model, and is ready when GET /ready says 200. SIGTERM ends it after the requests in flight.",
            "Several devices run a replica of the model each.",
            "GET / is a page to try the model. Without --tls-key-store, HTTP is not encrypted: beyond this machine, use it or",
            "let a proxy add TLS."
        },
        footer = {
            "  loomtorch serve --model gpt2",
            "  loomtorch serve --model gpt2 --host 0.0.0.0 --port 8080 --api-key-file keys.txt",
            "  curl http://127.0.0.1:8000/v1/completions -d '{\"prompt\": \"Once upon a time\", \"max_tokens\": 20}'"
        })
final class ServeCommand implements Callable<Integer> {
    private static final String LOGGER = "org.slf4j.simpleLogger.";
    private static final int WARM_UP_TOKENS = 4;

    @Option(
            names = "--host",
            paramLabel = "HOST",
            description =
                    "Address to listen at. The default is reached from this machine only; 0.0.0.0 listens at all (default: ${DEFAULT-VALUE}).")
    private String host = "127.0.0.1";

    @Option(
            names = "--port",
            paramLabel = "N",
            description = "Port to listen at, 0 for a free one (default: ${DEFAULT-VALUE}).")
    private int port = 8000;

    @Option(
            names = "--api-key-file",
            paramLabel = "FILE",
            description = "File with a key on each line, one of which clients must send (default: no key is needed).")
    private Path apiKeyFile;

    @Option(
            names = "--tls-key-store",
            paramLabel = "FILE",
            description = "Key store (PKCS #12 or JKS) with the certificate and key for TLS (default: no TLS).")
    private Path tlsKeyStore;

    @Option(
            names = "--tls-password-file",
            paramLabel = "FILE",
            description = "File with the password of the key store (default: an empty password).")
    private Path tlsPasswordFile;

    @Option(names = "--log-prompts", description = "Log the prompt of each request.")
    private boolean logPrompts;

    @Option(
            names = "--drain-seconds",
            paramLabel = "N",
            description = "How long SIGTERM lets requests in flight run on (default: ${DEFAULT-VALUE}).")
    private int drainSeconds = 30;

    @Option(
            names = "--max-batch-size",
            paramLabel = "N",
            description = "Most requests that run together (default: ${DEFAULT-VALUE}).")
    private int maxBatchSize = ModelOptions.defaults().maxBatchSize();

    @Option(
            names = "--max-queued-requests",
            paramLabel = "N",
            description = "Most requests that wait; more are refused with status 429 (default: ${DEFAULT-VALUE}).")
    private int maxQueuedRequests = QueueOptions.defaults().maxQueuedRequests();

    @Option(
            names = "--metric-names",
            paramLabel = "NAMES",
            converter = NamedConverter.OfMetricNames.class,
            description = "Names of the metrics at /metrics: loomtorch or vllm (default: loomtorch).")
    private MetricNames metricNames = MetricNames.LOOMTORCH;

    @Mixin
    private ModelFolderOptions model;

    @Mixin
    private TokenizerOptions tokenizer;

    @Mixin
    private DeviceOptions device;

    @Override
    public Integer call() throws IOException, InterruptedException {
        // A server's log is its only output. Loggers read this when the first is made, which what follows does.
        if (!"debug".equals(System.getProperty(LOGGER + "defaultLogLevel"))) { // without --verbose
            System.setProperty(LOGGER + "log.io.github.loomtorch", "info");
        }
        System.setProperty(LOGGER + "log.org.eclipse.jetty", "warn"); // below, it logs headers with keys, and bodies
        System.setProperty(LOGGER + "log.io.micrometer", "warn");
        System.setProperty(LOGGER + "showDateTime", "true");
        System.setProperty(LOGGER + "dateTimeFormat", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX");
        Checks.atLeast(0, drainSeconds, "drainSeconds");
        List<ModelOptions> replicas = device.replicas(maxBatchSize);
        QueueOptions queue =
                QueueOptions.builder().maxQueuedRequests(maxQueuedRequests).build();
        ServerOptions options = serverOptions();
        ModelDirectory directory = model.open();
        String name = model.name();
        ServerMetrics metrics =
                new ServerMetrics(metricNames, name, replicas.getFirst().pageSize());
        try (HttpServer server = HttpServer.start(options, Versions.loomtorch(), metrics)) {
            Tokenizer bpe = tokenizer.load(directory);
            String fingerprint = Fingerprint.of(directory, replicas);
            List<EngineFactory> engines = new ArrayList<>();
            List<String> devices = new CopyOnWriteArrayList<>(); // each engine is made on its own thread
            for (ModelOptions replica : replicas) {
                EngineOptions engineOptions = EngineOptions.builder()
                        .listener(metrics.engineListener())
                        .build();
                engines.add(() -> {
                    Gpt2 gpt2 = Gpt2Loader.load(directory, replica);
                    devices.add(gpt2.device());
                    return new Engine(gpt2, bpe, engineOptions);
                });
            }
            try (Scheduler scheduler = Schedulers.start(SchedulerOptions.continuous(queue), engines);
                    GpuReader gpus = GpuReader.open(devices)) {
                metrics.watchGpus(() -> use(gpus));
                warmUp(scheduler, replicas.size());
                server.serve(new ServedModel(
                        name,
                        scheduler,
                        bpe,
                        directory.config().contextLength(),
                        directory.config().vocabSize(),
                        fingerprint,
                        ChatTemplate.joinsTurns(directory.path())));
                Runtime.getRuntime().addShutdownHook(new Thread(() -> end(server, scheduler), "shutdown"));
                new CountDownLatch(1).await(); // until a signal ends the process
            }
        }
        return 0;
    }

    /** Runs a few tokens on each replica, so that the first client does not wait for what is made on first use. */
    private static void warmUp(Scheduler scheduler, int replicas) {
        GenerationRequest few = new GenerationRequest(new int[] {0}, SamplingParams.greedy(WARM_UP_TOKENS));
        // Submitted together, one goes to each: to the least loaded.
        Stream.generate(() -> scheduler.submit(few)).limit(replicas).toList().forEach(Generation::join);
    }

    private static List<GpuUse> use(GpuReader gpus) {
        return gpus.read().stream()
                .map(gpu -> new GpuUse(
                        gpu.device(), gpu.utilization(), gpu.usedBytes(), gpu.totalBytes(), gpu.powerWatts()))
                .toList();
    }

    private void end(HttpServer server, Scheduler scheduler) {
        try {
            server.drain(Duration.ofSeconds(drainSeconds));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        server.close();
        scheduler.closeNow();
    }

    private ServerOptions serverOptions() throws IOException {
        ServerOptions.Builder options =
                ServerOptions.builder().host(host).port(port).apiKeys(apiKeys()).logPrompts(logPrompts);
        if (tlsKeyStore != null) {
            options.keyStore(tlsKeyStore);
        }
        if (tlsPasswordFile != null && tlsKeyStore == null) {
            throw new IllegalArgumentException("tlsPasswordFile must be given together with --tls-key-store");
        }
        if (tlsPasswordFile != null) {
            options.keyStorePassword(read(tlsPasswordFile).strip());
        }
        return options.build();
    }

    private List<String> apiKeys() throws IOException {
        if (apiKeyFile == null) {
            return List.of();
        }
        List<String> keys = read(apiKeyFile)
                .lines()
                .map(String::strip)
                .filter(line -> !line.isEmpty())
                .toList();
        if (keys.isEmpty()) {
            throw new IOException(apiKeyFile + ": expected a key on each line, got no key");
        }
        return keys;
    }

    private static String read(Path file) throws IOException {
        try (InputLines lines = InputLines.open(file)) {
            return lines.rest();
        }
    }
}
