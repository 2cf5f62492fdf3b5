package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.github.loomtorch.bench.ResultFile;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine.ParseResult;

/** {@code bench serve} against a server whose every answer is one token. */
@Timeout(60)
class BenchServeCommandTest {
    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();
    private HttpServer server;
    private String url;

    @TempDir
    private Path directory;

    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext(
                "/v1/models", exchange -> answer(exchange, "{'data': [{'id': 'a', 'max_model_len': 64}]}"));
        server.createContext("/v1/completions", exchange -> answer(exchange, """
                data: {'choices': [{'text': 'x', 'finish_reason': 'length'}]}

                data: {'choices': [], 'usage': {'prompt_tokens': 2, 'completion_tokens': 1}}

                data: [DONE]

                """));
        server.start();
        url = "http://127.0.0.1:" + server.getAddress().getPort();
    }

    @AfterEach
    void stop() {
        server.stop(0);
    }

    private static void answer(HttpExchange exchange, String text) throws IOException {
        byte[] body = text.replace('\'', '"').getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(200, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    private int run(String... args) {
        return Main.run(new PrintWriter(out), new PrintWriter(err), args);
    }

    @Test
    void lengthsThatDoNotFitTheServersContextAreRefused() {
        assertEquals(2, run("bench", "serve", "--url", url, "--input-len", "61", "--output-len", "4"));
        assertEquals(
                "error: --input-len (61) + --output-len (4) must be <= contextLength (64), got 65;"
                        + " see loomtorch bench serve --help\n",
                err.toString());
        assertEquals("", out.toString());
    }

    private static Map<String, String> settings(String... args) {
        ParseResult bench = Main.commandLine(new Main()).parseArgs(args).subcommand();
        Benchmark command = (Benchmark) bench.subcommand().commandSpec().userObject();
        Report report = new Report(command, "", "", OptionalLong.empty(), new PrintWriter(new StringWriter()));
        report.workload("runs", 3);
        report.setting("dtype", "float32");
        return report.file().settings();
    }

    @Test
    void settingsAreTheValuesOfAllOptionsButThoseOfTheWorkload() {
        Map<String, String> settings = settings(
                "bench serve --weights int8 --deterministic --no-cuda-graphs --page-size 32 --speculate ngram:4 --requests 5"
                        .split(" "));
        Map<String, String> expected = Map.of(
                "weights", "int8",
                "deterministic", "true",
                "no-cuda-graphs", "true",
                "page-size", "32",
                "speculate", "2:4",
                "kv-cache-fraction", "0.9",
                "timeout", "0.05",
                "max-queued-requests", "no bound",
                "dtype", "float32");
        expected.forEach((name, value) -> assertEquals(value, settings.get(name), name));
        for (String name : List.of("runs", "requests", "api-key", "vocab-size", "json")) {
            assertFalse(settings.containsKey(name), name);
        }
        assertEquals("dtype", settings("bench", "offline").get("weights"));
    }

    @Test
    void settingsOfAServerAreNotThoseOfSchedulers() {
        Map<String, String> settings =
                settings("bench serve --url http://h:1 --api-key k --goodput-ttft-ms 9".split(" "));
        assertEquals("9.0", settings.get("goodput-ttft-ms"));
        assertEquals("50257", settings.get("vocab-size"));
        for (String name : List.of("weights", "page-size", "timeout", "api-key")) {
            assertFalse(settings.containsKey(name), name);
        }
    }

    @Test
    void sweepWritesThePointsBeforeTheOneThatFails() throws IOException {
        Path json = directory.resolve("r.json");
        Path page = directory.resolve("r.html");
        assertEquals(
                1,
                run(("bench sweep --over served-model=a,b --json " + json + " --report " + page + " serve --url " + url
                                + " --requests 1 --input-len 2 --output-len 1")
                        .split(" ")));
        assertEquals("error: " + url + ": expected model b in /v1/models, got [a]\n", err.toString());
        assertEquals(
                List.of("server served-model=a"),
                ResultFile.read(json).results().stream()
                        .map(ResultFile.Result::name)
                        .toList());
        assertTrue(Files.exists(page));
    }

    @ParameterizedTest
    @ValueSource(strings = {"--json", "--csv", "--report"})
    void filesThatCannotBeWrittenAreRefusedFirst(String option) throws IOException {
        Path missing = directory.resolve("missing");
        assertEquals(
                1,
                run(
                        "bench",
                        "serve",
                        "--url",
                        url,
                        option,
                        missing.resolve("r.html").toString()));
        Path folder = Files.createDirectory(directory.resolve("folder.html"));
        assertEquals(1, run("bench", "serve", "--url", url, option, folder.toString()));
        assertEquals(
                "error: " + missing + ": expected a directory, got nothing\nerror: " + folder
                        + ": expected a file, got a directory\n",
                err.toString());
        assertEquals("", out.toString());
    }

    @Test
    void moreRequestsThanTheTraceHasAreRefused() throws IOException {
        Path trace = Files.writeString(
                directory.resolve("t.csv"), "arrival_seconds,input_tokens,output_tokens\n0,3,4\n0,3,4\n");
        assertEquals(2, run("bench", "serve", "--url", url, "--trace", trace.toString(), "--requests", "3"));
        assertEquals(
                "error: --requests must be <= the 2 of the trace, got 3; see loomtorch bench serve --help\n",
                err.toString());
        assertEquals(0, run("bench", "serve", "--url", url, "--trace", trace.toString(), "--requests", "2"));
    }
}
