package io.github.loomtorch.hub;

import static java.nio.charset.StandardCharsets.US_ASCII;
import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.json.JsonMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * The Hugging Face hub on this machine, with one model. It answers as the real one: small files come from the hub with
 * Git's SHA-1 as their tag, large files ({@code .safetensors}, {@code .bin}) from another host.
 */
final class FakeHub implements AutoCloseable {
    static final String COMMIT = "0123456789abcdef0123456789abcdef01234567";

    /** An answer in place of the usual one, to one request. */
    @FunctionalInterface
    interface Fault {
        void answer(HttpExchange exchange) throws IOException;
    }

    private record Rule(String request, Fault fault) {}

    final Map<String, byte[]> files = new TreeMap<>();

    /** Each request: method, path, then "token" and the range if they were there. */
    final List<String> log = new CopyOnWriteArrayList<>();

    private final List<Rule> rules = new ArrayList<>(); // guarded by itself
    private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
    private final CountDownLatch closed = new CountDownLatch(1);
    private final HttpServer hub = start("");
    private final HttpServer cdn = start("cdn ");
    private final String repository;

    FakeHub(String repository) throws IOException {
        this.repository = repository;
    }

    URI endpoint() {
        return uri(hub);
    }

    URI cdn() {
        return uri(cdn);
    }

    /** Answers the next request whose line in the log contains the text; the latest rule counts first. */
    void once(String request, Fault fault) {
        synchronized (rules) {
            rules.addFirst(new Rule(request, fault));
        }
    }

    void times(int count, String request, Fault fault) {
        for (int i = 0; i < count; i++) {
            once(request, fault);
        }
    }

    static Fault status(int status, String... headers) {
        return exchange -> {
            for (int i = 0; i < headers.length; i += 2) {
                exchange.getResponseHeaders().set(headers[i], headers[i + 1]);
            }
            exchange.sendResponseHeaders(status, -1);
        };
    }

    /** Announces all bytes, sends some and ends the connection. */
    static Fault truncated(byte[] all, int count) {
        return exchange -> {
            exchange.sendResponseHeaders(200, all.length);
            exchange.getResponseBody().write(all, 0, count);
            exchange.getResponseBody().flush();
        };
    }

    /** Announces all bytes, sends some and then nothing until the hub is closed. */
    Fault stalled(byte[] all, int count) {
        return exchange -> {
            truncated(all, count).answer(exchange);
            await(closed);
        };
    }

    static Fault body(byte[] bytes) {
        return exchange -> {
            exchange.sendResponseHeaders(200, bytes.length);
            exchange.getResponseBody().write(bytes);
        };
    }

    static void await(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** The requests for the bytes of files. */
    List<String> downloads() {
        return log.stream()
                .filter(line -> line.startsWith("GET /" + repository))
                .toList();
    }

    private HttpServer start(String name) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", exchange -> {
            try (exchange) {
                answer(name, exchange);
            }
        });
        server.setExecutor(threads);
        server.start();
        return server;
    }

    private static URI uri(HttpServer server) {
        return URI.create("http://127.0.0.1:" + server.getAddress().getPort());
    }

    private void answer(String server, HttpExchange exchange) throws IOException {
        String token = exchange.getRequestHeaders().getFirst("Authorization");
        String range = exchange.getRequestHeaders().getFirst("Range");
        String request = server + exchange.getRequestMethod() + " " + exchange.getRequestURI()
                + (token == null ? "" : " token") + (range == null ? "" : " " + range);
        log.add(request);
        Fault fault = fault(request);
        if (fault != null) {
            fault.answer(exchange);
            return;
        }
        String path = exchange.getRequestURI().getPath();
        if (path.startsWith("/api/models/" + repository + "/revision/")) {
            List<Map<String, String>> siblings = files.keySet().stream()
                    .map(name -> Map.of("rfilename", name))
                    .toList();
            body(new JsonMapper().writeValueAsBytes(Map.of("sha", COMMIT, "siblings", siblings)))
                    .answer(exchange);
            return;
        }
        String name = path.substring(path.lastIndexOf('/') + 1);
        byte[] bytes = files.get(name);
        boolean isOther = server.isEmpty() && !path.equals("/" + repository + "/resolve/" + COMMIT + "/" + name);
        if (bytes == null || isOther) {
            status(404, "X-Error-Code", bytes == null ? "EntryNotFound" : "RepoNotFound")
                    .answer(exchange);
        } else if (server.isEmpty() && isLarge(name)) {
            status(
                            302,
                            "Location",
                            cdn() + "/" + name,
                            "X-Linked-Etag",
                            "\"" + sha("SHA-256", bytes) + "\"",
                            "X-Linked-Size",
                            "" + bytes.length)
                    .answer(exchange);
        } else {
            send(exchange, bytes, range);
        }
    }

    private Fault fault(String request) {
        synchronized (rules) {
            for (Rule rule : rules) {
                if (request.contains(rule.request())) {
                    rules.remove(rule);
                    return rule.fault();
                }
            }
            return null;
        }
    }

    private static void send(HttpExchange exchange, byte[] bytes, String range) throws IOException {
        exchange.getResponseHeaders().set("ETag", "\"" + gitHash(bytes) + "\"");
        if (exchange.getRequestMethod().equals("HEAD")) {
            exchange.getResponseHeaders().set("Content-Length", "" + bytes.length);
            exchange.sendResponseHeaders(200, -1);
            return;
        }
        int start = range == null ? 0 : Integer.parseInt(range.replaceAll("\\D", ""));
        if (range != null) {
            exchange.getResponseHeaders()
                    .set("Content-Range", "bytes " + start + "-" + (bytes.length - 1) + "/" + bytes.length);
        }
        exchange.sendResponseHeaders(range == null ? 200 : 206, bytes.length == start ? -1 : bytes.length - start);
        exchange.getResponseBody().write(bytes, start, bytes.length - start);
    }

    static boolean isLarge(String name) {
        return name.endsWith(".safetensors") || name.endsWith(".bin");
    }

    static String hash(String name, byte[] bytes) {
        return isLarge(name) ? sha("SHA-256", bytes) : gitHash(bytes);
    }

    private static String gitHash(byte[] bytes) {
        byte[] head = ("blob " + bytes.length + "\0").getBytes(US_ASCII);
        byte[] all = new byte[head.length + bytes.length];
        System.arraycopy(head, 0, all, 0, head.length);
        System.arraycopy(bytes, 0, all, head.length, bytes.length);
        return sha("SHA-1", all);
    }

    private static String sha(String algorithm, byte[] bytes) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance(algorithm).digest(bytes));
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError(e);
        }
    }

    static byte[] text(String text) {
        return text.getBytes(UTF_8);
    }

    @Override
    public void close() {
        closed.countDown();
        hub.stop(0);
        cdn.stop(0);
        threads.shutdownNow();
    }
}
