package io.github.loomtorch.hub;

import static io.github.loomtorch.hub.FakeHub.COMMIT;
import static io.github.loomtorch.hub.FakeHub.body;
import static io.github.loomtorch.hub.FakeHub.status;
import static io.github.loomtorch.hub.FakeHub.text;
import static io.github.loomtorch.hub.FakeHub.truncated;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Downloads from a hub on this machine that fails in every way. */
@Timeout(30)
@EnabledOnOs({OS.LINUX, OS.MAC}) // where links need no privilege
class HubTest {
    private static final HubModel MODEL = new HubModel("org/tiny", "main");
    private static final String WEIGHTS = "model.safetensors";
    private static final String GET_WEIGHTS = "cdn GET /" + WEIGHTS;

    @TempDir
    Path cache;

    private final byte[] weights = new byte[300_000];
    private FakeHub fake;

    @BeforeEach
    void startHub() throws IOException {
        new Random(1).nextBytes(weights);
        fake = new FakeHub(MODEL.repository());
        fake.files.put("config.json", text("{\"model_type\": \"gpt2\"}"));
        fake.files.put("vocab.json", text("{}"));
        fake.files.put("merges.txt", text("#version: 0.2\n"));
        fake.files.put(WEIGHTS, weights);
    }

    @AfterEach
    void stopHub() {
        fake.close();
    }

    private HubSettings settings(int attempts) {
        return settings(attempts, Duration.ofSeconds(15)); // long enough for a busy machine
    }

    private HubSettings settings(int attempts, Duration stall) {
        HubSettings.Timing timing = new HubSettings.Timing(
                Duration.ofSeconds(15), stall, attempts, Duration.ofMillis(1), Duration.ofMillis(5));
        return new HubSettings(fake.endpoint(), cache, Optional.of("secret"), false, timing);
    }

    private Hub hub() {
        return new Hub(settings(3), HubProgress.NONE);
    }

    private Path folder() {
        return cache.resolve("models--org--tiny");
    }

    private Path snapshot() {
        return folder().resolve("snapshots").resolve(COMMIT);
    }

    private Path blob() {
        return folder().resolve("blobs").resolve(FakeHub.hash(WEIGHTS, weights));
    }

    private Path partial() {
        return blob().resolveSibling(blob().getFileName() + ".loomtorch.incomplete");
    }

    private void assertWhole() throws IOException {
        assertArrayEquals(weights, Files.readAllBytes(snapshot().resolve(WEIGHTS)));
        assertFalse(Files.exists(partial()));
    }

    private String failure(Hub hub) {
        String message = assertThrows(IOException.class, () -> hub.fetch(MODEL)).getMessage();
        assertFalse(Files.exists(snapshot().resolve(WEIGHTS)), "weights that are not whole");
        String start = "download of org/tiny from " + fake.endpoint() + " failed: ";
        assertTrue(message.startsWith(start), message);
        return message.substring(start.length());
    }

    private static Set<String> names(Path folder) throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.map(file -> file.getFileName().toString()).collect(Collectors.toSet());
        }
    }

    @Test
    void downloadsWhatIsNeededInPythonsLayout() throws IOException {
        for (String other :
                List.of("README.md", "pytorch_model.bin", "tf_model.h5", "../../evil", "onnx/config.json")) {
            fake.files.put(other, text(other));
        }
        assertEquals(snapshot(), hub().fetch(MODEL));
        assertEquals(Set.of("config.json", "vocab.json", "merges.txt", WEIGHTS), names(snapshot()));
        for (String name : names(snapshot())) {
            Path blob = Path.of("../../blobs", FakeHub.hash(name, fake.files.get(name)));
            assertEquals(blob, Files.readSymbolicLink(snapshot().resolve(name)));
            assertArrayEquals(
                    fake.files.get(name), Files.readAllBytes(snapshot().resolve(name)));
        }
        assertEquals(4, names(folder().resolve("blobs")).size());
        assertEquals(COMMIT, Files.readString(folder().resolve("refs/main")));
        assertEquals(Set.of("models--org--tiny", ".locks"), names(cache));
    }

    @Test
    void asksOnlyForTheCommitIfAllIsThere() throws IOException {
        hub().fetch(MODEL);
        fake.log.clear();
        assertEquals(snapshot(), hub().fetch(MODEL));
        assertEquals(List.of("GET /api/models/org/tiny/revision/main token"), fake.log);
    }

    @Test
    void aRevisionMayHaveSlashes() throws IOException {
        hub().fetch(new HubModel("org/tiny", "refs/pr/22"));
        assertEquals("GET /api/models/org/tiny/revision/refs%2Fpr%2F22 token", fake.log.get(0));
        assertEquals(COMMIT, Files.readString(folder().resolve("refs/refs/pr/22")));
    }

    @Test
    void aCommitIsPinned() throws IOException {
        assertEquals(snapshot(), hub().fetch(new HubModel("org/tiny", COMMIT)));
        assertFalse(Files.exists(folder().resolve("refs")));
        String other = COMMIT.replace('0', 'f');
        IOException e = assertThrows(IOException.class, () -> hub().fetch(new HubModel("org/tiny", other)));
        assertTrue(e.getMessage().endsWith("must be of the commit " + other + ", got " + COMMIT), e.getMessage());
    }

    @Test
    void theTokenGoesToTheHubOnly() throws IOException {
        hub().fetch(MODEL);
        for (String request : fake.log) {
            assertEquals(!request.startsWith("cdn "), request.contains(" token"), request);
        }
        assertTrue(fake.log.contains(GET_WEIGHTS), fake.log.toString());
    }

    @Test
    void followsTheRedirectOfARenamedModel() throws IOException {
        String path = "/org/tiny/resolve/" + COMMIT + "/config.json";
        fake.once("HEAD " + path, status(307, "Location", path + "?renamed"));
        fake.once("GET /api", status(307, "Location", "/api/models/org/tiny/revision/main?renamed"));
        hub().fetch(MODEL);
        assertTrue(fake.log.contains("HEAD " + path + "?renamed token"), fake.log.toString());
        assertWhole();
    }

    @ParameterizedTest
    @CsvSource({
        "/again, must redirect at most 5 times",
        "ftp://127.0.0.1/x, must redirect to an https address",
        "'', must redirect at most 5 times"
    })
    void refusesBadRedirects(String location, String expected) {
        fake.times(6, "GET ", status(302, "Location", location));
        assertTrue(failure(hub()).contains(expected));
    }

    @Test
    void continuesATruncatedDownload() throws IOException {
        fake.once(GET_WEIGHTS, truncated(weights, 100_000));
        hub().fetch(MODEL);
        assertWhole();
        String range = fake.log.stream()
                .filter(line -> line.contains("bytes="))
                .findFirst()
                .orElseThrow();
        assertTrue(range.matches(".* bytes=[1-9]\\d*-"), range);
    }

    @Test
    void continuesTheDownloadOfAnEarlierProcess() throws IOException {
        fake.once(GET_WEIGHTS, truncated(weights, 100_000));
        Hub once = new Hub(settings(1), HubProgress.NONE);
        assertTrue(failure(once).startsWith(WEIGHTS + ": the connection broke"));
        long there = Files.size(partial());
        assertTrue(there > 0);
        fake.log.clear();
        once.fetch(MODEL);
        assertWhole();
        assertTrue(fake.log.contains(GET_WEIGHTS + " bytes=" + there + "-"), fake.log.toString());
        assertEquals(1, fake.downloads().size());
    }

    @Test
    void startsAgainIfTheHubIgnoresTheRange() throws IOException {
        fake.once(GET_WEIGHTS + " bytes", body(weights));
        fake.once(GET_WEIGHTS, truncated(weights, 100_000));
        hub().fetch(MODEL);
        assertWhole();
    }

    @Test
    void downloadsADamagedPartialFileAgain() throws IOException {
        Files.createDirectories(partial().getParent());
        Files.write(partial(), new byte[1000]);
        hub().fetch(MODEL);
        assertWhole();
        assertTrue(fake.log.contains(GET_WEIGHTS + " bytes=1000-"), fake.log.toString());
        assertTrue(fake.log.contains(GET_WEIGHTS), fake.log.toString());
    }

    @Test
    void refusesBytesOfAnotherHash() throws IOException {
        byte[] wrong = weights.clone();
        wrong[5]++;
        fake.once(GET_WEIGHTS, body(wrong));
        assertTrue(failure(hub()).startsWith(WEIGHTS + ": expected the hash " + blob().getFileName() + ", got "));
        assertFalse(Files.exists(partial()) || Files.exists(blob()));

        byte[] config = fake.files.get("config.json").clone();
        config[0]++;
        Files.delete(snapshot().resolve("config.json"));
        Files.delete(folder().resolve("blobs").resolve(FakeHub.hash("config.json", fake.files.get("config.json"))));
        fake.once("GET /org/tiny/resolve", body(config));
        assertTrue(failure(hub()).startsWith("config.json: expected the hash "));
    }

    @ParameterizedTest
    @ValueSource(ints = {299_999, 300_001})
    void refusesBytesOfAnotherLength(int length) {
        fake.once(GET_WEIGHTS, body(new byte[length]));
        assertEquals(WEIGHTS + ": expected 300000 bytes, got " + length, failure(hub()));
    }

    @Test
    void refusesMoreBytesThanAnnounced() {
        fake.once(GET_WEIGHTS, exchange -> {
            exchange.sendResponseHeaders(200, 0); // chunked
            exchange.getResponseBody().write(new byte[300_001]);
        });
        assertEquals(WEIGHTS + ": expected 300000 bytes, got more", failure(hub()));
    }

    @ParameterizedTest
    @ValueSource(strings = {"bytes 1-299999/300000", "bytes 1000-299999/300001", "bytes */300000"})
    void refusesAnotherRangeThanItAskedFor(String range) throws IOException {
        Files.createDirectories(partial().getParent());
        Files.write(partial(), java.util.Arrays.copyOf(weights, 1000));
        fake.once(GET_WEIGHTS + " bytes", exchange -> {
            exchange.getResponseHeaders().set("Content-Range", range);
            exchange.sendResponseHeaders(206, 299_000);
            exchange.getResponseBody().write(new byte[299_000]);
        });
        hub().fetch(MODEL); // from the start
        assertWhole();
        assertTrue(fake.log.contains(GET_WEIGHTS), fake.log.toString());
    }

    @Test
    void aStalledDownloadIsContinued() throws IOException {
        fake.once(GET_WEIGHTS, fake.stalled(weights, 100_000));
        new Hub(settings(10, Duration.ofSeconds(1)), HubProgress.NONE).fetch(MODEL);
        assertWhole();
    }

    @Test
    void aHubThatAlwaysStallsFails() {
        fake.times(10, GET_WEIGHTS, fake.stalled(weights, 0));
        Hub impatient = new Hub(settings(2, Duration.ofSeconds(1)), HubProgress.NONE);
        assertEquals(WEIGHTS + ": no byte came for 1000 ms", failure(impatient));
    }

    @ParameterizedTest
    @ValueSource(strings = {"\"nothing\"", "\"../../../evil\"", "\"ABCDEF\"", ""})
    void refusesATagThatIsNoHash(String tag) {
        fake.once(
                "HEAD /org/tiny/resolve/" + COMMIT + "/" + WEIGHTS,
                status(302, "Location", fake.cdn() + "/x", "X-Linked-Etag", tag, "X-Linked-Size", "1"));
        String failure = failure(hub());
        assertTrue(failure.startsWith(WEIGHTS + ": hash must be a SHA-256 or a SHA-1, got"), failure);
    }

    @Test
    void refusesAFileWithoutASize() {
        fake.once(
                "HEAD /org/tiny/resolve/" + COMMIT + "/" + WEIGHTS,
                status(302, "Location", fake.cdn() + "/x", "X-Linked-Etag", "\"" + blob().getFileName() + "\""));
        assertEquals(WEIGHTS + ": size must be >= 0, got -1", failure(hub()));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "401 | GatedRepo        | the model is gated (401); ask for access at HUB/org/tiny, and put a token with access into HF_TOKEN",
                "403 | GatedRepo        | the model is gated (403); ask for access at HUB/org/tiny, and put a token with access into HF_TOKEN",
                "401 | RepoNotFound     | there is neither such a folder nor such a model (401); check the name, and put a token into HF_TOKEN if the model is private",
                "404 | RepoNotFound     | there is neither such a folder nor such a model (404); check the name, and put a token into HF_TOKEN if the model is private",
                "401 | ''               | 127.0.0.1 does not accept the token (401); check HF_TOKEN",
                "404 | RevisionNotFound | it has no revision main",
                "403 | ''               | 127.0.0.1 answered 403 when asked for the list of files",
            })
    void saysWhyTheHubRefuses(int status, String code, String expected) {
        fake.once("GET /api", code.isEmpty() ? status(status) : status(status, "X-Error-Code", code));
        assertEquals(expected.replace("HUB", fake.endpoint().toString()), failure(hub()));
        assertEquals(1, fake.log.size());
    }

    @Test
    void saysWhichFileIsGone() {
        fake.once("HEAD /org/tiny/resolve/" + COMMIT + "/vocab.json", status(404, "X-Error-Code", "EntryNotFound"));
        assertEquals("it has no file vocab.json", failure(hub()));
    }

    @ParameterizedTest
    @CsvSource({"429, refuses so many requests (429)", "500, failed (500)", "503, failed (503)"})
    void triesAgainWhenTheHubIsBusy(int status, String reason) throws IOException {
        fake.times(3, "GET /api", status(status));
        assertEquals("127.0.0.1 " + reason + " when asked for the list of files", failure(hub()));
        assertEquals(3, fake.log.size());
        fake.times(2, GET_WEIGHTS, status(status));
        fake.times(2, "GET /api", status(status, "Retry-After", "0"));
        hub().fetch(MODEL);
        assertWhole();
    }

    @Test
    void doesNotWaitAnHour() {
        fake.once("GET /api", status(429, "Retry-After", "3600"));
        failure(hub());
        assertEquals(1, fake.log.size());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "[]                                                              | must be of the commit main, got none",
                "{'sha': '../../evil', 'siblings': []}                           | must be of the commit main, got none",
                "no JSON                                                         | must be JSON, got something else",
                "{'sha': '0123456789abcdef0123456789abcdef01234567'}             | expected config.json, got a model without it",
            })
    void refusesABadListOfFiles(String list, String expected) {
        fake.once("GET /api", body(list.replace('\'', '"').getBytes(UTF_8)));
        String failure = failure(hub());
        assertTrue(failure.endsWith(expected), failure);
    }

    @Test
    void offlineTakesWhatTheCacheHas() throws IOException {
        HubSettings online = settings(3);
        Hub offline = new Hub(
                new HubSettings(online.endpoint(), cache, Optional.empty(), true, online.timing()), HubProgress.NONE);
        IOException e = assertThrows(IOException.class, () -> offline.fetch(MODEL));
        assertEquals(
                "org/tiny must be a folder, or in " + cache + " because HF_HUB_OFFLINE is set, got neither",
                e.getMessage());
        hub().fetch(MODEL);
        fake.log.clear();
        assertEquals(snapshot(), offline.fetch(MODEL));
        assertEquals(snapshot(), offline.fetch(new HubModel("org/tiny", COMMIT)));
        assertEquals(List.of(), fake.log);
        Files.delete(snapshot().resolve(WEIGHTS));
        assertThrows(IOException.class, () -> offline.fetch(MODEL));
    }

    @Test
    void aHubThatCannotBeReachedIsNotNeededIfTheModelIsCached() throws IOException {
        hub().fetch(MODEL);
        fake.times(3, "GET /api", status(503));
        assertEquals(snapshot(), hub().fetch(MODEL));
        fake.times(1, "GET /api", status(404, "X-Error-Code", "RepoNotFound"));
        assertThrows(IOException.class, () -> hub().fetch(MODEL));
    }

    @Test
    void saysThatTheHubCannotBeReached() {
        URI nobody = URI.create("http://127.0.0.1:1");
        HubSettings there = settings(2);
        Hub hub = new Hub(new HubSettings(nobody, cache, Optional.empty(), false, there.timing()), HubProgress.NONE);
        IOException e = assertThrows(IOException.class, () -> hub.fetch(MODEL));
        assertTrue(
                e.getMessage()
                        .startsWith("download of org/tiny from " + nobody + " failed: 127.0.0.1 could not be reached"),
                e.getMessage());
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void usesACacheThatPythonMade(boolean hasBlobs) throws IOException {
        Files.createDirectories(snapshot());
        Files.createDirectories(folder().resolve("blobs"));
        Files.createDirectories(folder().resolve("refs"));
        Files.writeString(folder().resolve("refs/main"), COMMIT);
        for (String name : fake.files.keySet()) {
            byte[] bytes = fake.files.get(name);
            if (hasBlobs) {
                Files.write(folder().resolve("blobs").resolve(FakeHub.hash(name, bytes)), bytes);
                Path blob = Path.of("../../blobs", FakeHub.hash(name, bytes));
                Files.createSymbolicLink(snapshot().resolve(name), blob);
            } else {
                Files.write(snapshot().resolve(name), bytes);
            }
        }
        assertEquals(snapshot(), hub().fetch(MODEL));
        assertEquals(1, fake.log.size());
    }

    @Test
    void linksABlobThatIsThere() throws IOException {
        Files.createDirectories(blob().getParent());
        Files.write(blob(), weights);
        Files.createDirectories(snapshot());
        Files.createSymbolicLink(snapshot().resolve(WEIGHTS), Path.of("../../blobs/gone"));
        hub().fetch(MODEL);
        assertWhole();
        assertEquals(
                List.of(),
                fake.log.stream().filter(line -> line.startsWith("cdn GET")).toList());
    }

    @Test
    void twoAtOnceDownloadOnce() throws Exception {
        CountDownLatch second = new CountDownLatch(1);
        fake.once(GET_WEIGHTS, exchange -> second.countDown()); // a second download
        fake.once(GET_WEIGHTS, exchange -> {
            try {
                assertFalse(second.await(200, TimeUnit.MILLISECONDS));
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            body(weights).answer(exchange);
        });
        try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            List<CompletableFuture<Path>> fetches = Stream.of(1, 2, 3)
                    .map(i -> CompletableFuture.supplyAsync(
                            () -> {
                                try {
                                    return hub().fetch(MODEL);
                                } catch (IOException e) {
                                    throw new java.io.UncheckedIOException(e);
                                }
                            },
                            threads))
                    .toList();
            for (CompletableFuture<Path> fetch : fetches) {
                assertEquals(snapshot(), fetch.get());
            }
        }
        assertWhole();
        assertEquals(4, fake.downloads().size());
    }

    @Test
    void reportsProgressUpToTheTotal() throws IOException {
        List<Long> received = new ArrayList<>();
        long total =
                fake.files.values().stream().mapToLong(bytes -> bytes.length).sum();
        new Hub(settings(3), (bytes, all) -> {
                    assertEquals(total, all);
                    received.add(bytes);
                })
                .fetch(MODEL);
        assertEquals(received.stream().sorted().toList(), received);
        assertEquals(total, received.get(received.size() - 1));
    }

    @Test
    @EnabledOnOs(OS.LINUX)
    void saysThatTheDiskIsFull() throws IOException {
        Files.createDirectories(partial().getParent());
        Files.createSymbolicLink(partial(), Path.of("/dev/full"));
        assertEquals(
                WEIGHTS + " could not be written: No space left on device; free disk space, or choose another cache by"
                        + " HF_HUB_CACHE",
                failure(hub()));
    }
}
