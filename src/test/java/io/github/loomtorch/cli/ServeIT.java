package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** {@code loomtorch serve} from the jar, as a supervisor runs it. */
@Timeout(180)
@DisabledOnOs(OS.WINDOWS)
class ServeIT {
    private static final Pattern LISTENS = Pattern.compile(".* INFO listening on (http://127\\.0\\.0\\.1:\\d+/)");
    private static final String COMPLETION =
            "{\"prompt\": \"Once upon a time\", \"max_tokens\": %d, \"temperature\": 0, \"ignore_eos\": true, \"stream\": %b}";

    private final HttpClient client =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    private static Process start(String... options) throws IOException {
        Stream<String> java = Stream.of(
                ProcessHandle.current().info().command().orElseThrow(),
                "-jar",
                "target/loomtorch.jar",
                "serve",
                "--model",
                Path.of("models/tales").toString(),
                "--device",
                "cpu",
                "--port",
                "0");
        ProcessBuilder builder =
                new ProcessBuilder(Stream.concat(java, Stream.of(options)).toList());
        builder.environment().remove("JAVA_TOOL_OPTIONS");
        return builder.start();
    }

    private static URI address(BufferedReader log) throws IOException {
        String line = log.readLine();
        Matcher listens = LISTENS.matcher(line);
        assertTrue(listens.matches(), line);
        return URI.create(listens.group(1));
    }

    private HttpResponse<String> get(URI server, String path) throws Exception {
        return client.send(HttpRequest.newBuilder(server.resolve(path)).build(), BodyHandlers.ofString());
    }

    /** Below it Jetty logs headers and bodies. */
    @Test
    void theVerboseLogHasRequestsButNeitherKeysNorPrompts(@TempDir Path directory) throws Exception {
        Path keys = Files.writeString(directory.resolve("keys.txt"), "very-secret\n");
        Process process = start("--verbose", "--api-key-file", keys.toString());
        try (BufferedReader log = process.errorReader(StandardCharsets.UTF_8)) {
            List<String> lines = new ArrayList<>();
            do {
                lines.add(log.readLine());
            } while (!lines.getLast().contains(" INFO io.github.loomtorch.server.HttpServer - ready: "));
            Matcher address = Pattern.compile("listening on (\\S+)").matcher(String.join("\n", lines));
            assertTrue(address.find());
            HttpRequest request = HttpRequest.newBuilder(
                            completion(URI.create(address.group(1)), 2, true), (n, v) -> true)
                    .header("Authorization", "Bearer very-secret")
                    .build();
            assertEquals(200, client.send(request, BodyHandlers.ofString()).statusCode());
            process.toHandle().destroy();
            log.lines().forEach(lines::add);
            assertTrue(
                    lines.stream()
                            .anyMatch(line -> line.matches(".* DEBUG .* POST /v1/completions from .*: status 200 .*")),
                    lines::toString);
            assertFalse(lines.toString().contains("very-secret"), lines::toString);
            assertFalse(lines.toString().contains("Once upon"), lines::toString);
        } finally {
            process.destroyForcibly();
        }
    }

    private HttpRequest completion(URI server, int tokens, boolean stream) {
        return HttpRequest.newBuilder(server.resolve("/v1/completions"))
                .POST(HttpRequest.BodyPublishers.ofString(COMPLETION.formatted(tokens, stream)))
                .build();
    }

    @Test
    void listensIsReadyCompletesAndEndsWithItsRequests() throws Exception {
        Process process = start();
        try (BufferedReader log = process.errorReader(StandardCharsets.UTF_8)) {
            URI server = address(log);
            assertEquals(200, get(server, "/health").statusCode()); // also while it loads
            String loaded = log.readLine();
            assertTrue(loaded.contains(" INFO GPT-2 with ") && loaded.contains(" on cpu in "), loaded);
            String ready = log.readLine();
            assertTrue(
                    ready.matches(".* INFO ready: model tales \\(loomtorch-.*-[0-9a-f]{8}\\), at most 1024 tokens"),
                    ready);
            assertEquals(200, get(server, "/ready").statusCode());
            String answer = client.send(completion(server, 9, false), BodyHandlers.ofString())
                    .body();
            assertTrue(answer.contains("\"completion_tokens\":9"), answer);

            CompletableFuture<HttpResponse<Stream<String>>> running =
                    client.sendAsync(completion(server, 100, true), BodyHandlers.ofLines());
            try (Stream<String> lines = running.join().body()) { // the first event has come
                process.toHandle().destroy(); // SIGTERM
                String stream = lines.collect(Collectors.joining("\n"));
                assertTrue(stream.contains("\"finish_reason\":\"length\""), stream);
                assertTrue(stream.strip().endsWith("data: [DONE]"), stream);
            }
            assertTrue(process.waitFor(60, TimeUnit.SECONDS));
            assertEquals(143, process.exitValue());
            String rest = log.lines().collect(Collectors.joining("\n"));
            assertTrue(rest.contains("INFO draining for at most 30 s") && rest.contains("INFO stopped"), rest);
        } finally {
            process.destroyForcibly();
        }
    }

    @Test
    void logsPromptsOnlyIfAskedForAndCancelsWhatDoesNotEndInTime() throws Exception {
        Process process = start("--log-prompts", "--drain-seconds", "0");
        try (BufferedReader log = process.errorReader(StandardCharsets.UTF_8)) {
            URI server = address(log);
            while (!log.readLine().contains(" INFO ready: ")) {}
            HttpResponse<Stream<String>> running = client.send(completion(server, 1000, true), BodyHandlers.ofLines());
            String line = log.readLine();
            assertTrue(line.endsWith("prompt \"Once upon a time\""), line);
            process.toHandle().destroy();
            try (Stream<String> lines = running.body()) {
                String stream = lines.collect(Collectors.joining("\n"));
                assertTrue(stream.contains("the server is shutting down"), stream);
                assertFalse(stream.contains("\"finish_reason\":\"length\""), stream);
            }
            assertTrue(process.waitFor(60, TimeUnit.SECONDS));
            assertEquals(143, process.exitValue());
        } finally {
            process.destroyForcibly();
        }
    }
}
