package io.github.loomtorch.testing;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.WebSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;

/**
 * A page in a headless Chromium, driven by its DevTools protocol. The browser is the one that the environment variable
 * {@code CHROMIUM} names, else {@code chromium} or {@code google-chrome} on the path. Confined to one thread.
 */
public final class Browser implements AutoCloseable {
    private static final JsonMapper JSON = JsonMapper.builder().build();
    private static final int LIMIT_SECONDS = 30;
    private static final String LISTENS = "DevTools listening on ";

    private final Process process;
    private final HttpClient client = HttpClient.newHttpClient();
    private final WebSocket socket;
    private final AtomicInteger ids = new AtomicInteger();
    private final Map<Integer, CompletableFuture<JsonNode>> answers = new ConcurrentHashMap<>();

    /** Where the browser is; empty if there is none. */
    public static Optional<Path> executable() {
        String named = System.getenv("CHROMIUM");
        Stream<Path> candidates = named != null
                ? Stream.of(Path.of(named))
                : Arrays.stream(System.getenv("PATH").split(File.pathSeparator))
                        .flatMap(folder -> Stream.of("chromium", "chromium-browser", "google-chrome")
                                .map(Path.of(folder)::resolve));
        return candidates.filter(Files::isExecutable).findFirst();
    }

    /** Opens an empty page; its profile goes to a folder. */
    public Browser(Path profile) throws IOException {
        process = new ProcessBuilder(
                        executable().orElseThrow().toString(),
                        "--headless",
                        "--no-sandbox",
                        "--disable-gpu",
                        "--remote-debugging-port=0",
                        "--user-data-dir=" + profile,
                        "about:blank")
                .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                .start();
        BufferedReader errors = process.errorReader();
        String line = errors.readLine();
        while (line != null && !line.startsWith(LISTENS)) {
            line = errors.readLine();
        }
        if (line == null) {
            throw new IOException("the browser did not start");
        }
        Thread.ofVirtual().start(() -> errors.lines().forEach(ignored -> {})); // or it waits for its reader
        URI browser = URI.create(line.substring(LISTENS.length()));
        URI list = URI.create("http://" + browser.getAuthority() + "/json/list");
        try {
            JsonNode pages = JSON.readTree(
                    client.send(HttpRequest.newBuilder(list).build(), HttpResponse.BodyHandlers.ofString())
                            .body());
            socket = client.newWebSocketBuilder()
                    .buildAsync(URI.create(pages.at("/0/webSocketDebuggerUrl").textValue()), new Answers())
                    .join();
        } catch (InterruptedException e) {
            throw new IOException(e);
        }
    }

    private final class Answers implements WebSocket.Listener {
        private final StringBuilder text = new StringBuilder();

        @Override
        public CompletionStage<?> onText(WebSocket webSocket, CharSequence data, boolean last) {
            text.append(data);
            if (last) {
                try {
                    JsonNode message = JSON.readTree(text.toString());
                    CompletableFuture<JsonNode> answer =
                            answers.remove(message.path("id").asInt());
                    if (answer != null) {
                        answer.complete(message);
                    }
                } catch (IOException e) {
                    throw new AssertionError(e);
                }
                text.setLength(0);
            }
            webSocket.request(1);
            return CompletableFuture.completedFuture(null);
        }
    }

    private JsonNode call(String method, ObjectNode parameters) {
        int id = ids.incrementAndGet();
        CompletableFuture<JsonNode> answer = new CompletableFuture<>();
        answers.put(id, answer);
        ObjectNode message = JSON.createObjectNode().put("id", id).put("method", method);
        message.set("params", parameters);
        socket.sendText(message.toString(), true).join();
        JsonNode result =
                answer.orTimeout(LIMIT_SECONDS, TimeUnit.SECONDS).join().path("result");
        if (result.has("exceptionDetails")) {
            throw new AssertionError(result.path("exceptionDetails").toString());
        }
        return result;
    }

    private static ObjectNode parameters() {
        return JSON.createObjectNode();
    }

    public void open(URI page) {
        call("Page.navigate", parameters().put("url", page.toString()));
        await("document.readyState === 'complete'");
    }

    /** The value of an expression. */
    public JsonNode value(String expression) {
        return call(
                        "Runtime.evaluate",
                        parameters().put("expression", expression).put("returnByValue", true))
                .at("/result/value");
    }

    /** Waits until an expression is true. */
    public void await(String expression) {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_SECONDS);
        while (!value(expression).asBoolean()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError(expression + " was not true in time, the page says: "
                        + value("document.body.innerText").textValue());
            }
            Thread.onSpinWait();
        }
    }

    /** Presses a key and releases it. */
    public void press(String key, boolean control) {
        for (String type : new String[] {"rawKeyDown", "keyUp"}) {
            call(
                    "Input.dispatchKeyEvent",
                    parameters()
                            .put("type", type)
                            .put("key", key)
                            .put("code", key)
                            .put("windowsVirtualKeyCode", key.equals("Tab") ? 9 : 0)
                            .put("modifiers", control ? 2 : 0));
        }
    }

    public void type(String text) {
        call("Input.insertText", parameters().put("text", text));
    }

    /** Sets the size of the page, and whether it is dark. */
    public void show(int width, int height, boolean dark) {
        call(
                "Emulation.setDeviceMetricsOverride",
                parameters()
                        .put("width", width)
                        .put("height", height)
                        .put("deviceScaleFactor", 1)
                        .put("mobile", width < 600));
        ObjectNode scheme = parameters().put("name", "prefers-color-scheme").put("value", dark ? "dark" : "light");
        ObjectNode media = parameters();
        media.putArray("features").add(scheme);
        call("Emulation.setEmulatedMedia", media);
    }

    public void screenshot(Path file) throws IOException {
        JsonNode png = call("Page.captureScreenshot", parameters().put("format", "png"));
        Files.write(file, Base64.getDecoder().decode(png.path("data").textValue()));
    }

    @Override
    public void close() {
        socket.abort();
        client.close();
        // Its own processes write to the profile until they have ended, even when the first of them has.
        List<ProcessHandle> all = Stream.concat(process.descendants(), Stream.of(process.toHandle()))
                .toList();
        process.destroy();
        for (ProcessHandle each : all) {
            try {
                each.onExit().get(LIMIT_SECONDS, TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            } catch (ExecutionException | TimeoutException e) {
                each.destroyForcibly();
            }
        }
    }
}
