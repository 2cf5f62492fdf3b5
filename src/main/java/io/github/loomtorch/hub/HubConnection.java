package io.github.loomtorch.hub;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Flow;

/** What is asked of the hub about one model, each once. Confined to the thread that downloads. */
final class HubConnection implements AutoCloseable {
    private static final int MAX_LISTING_BYTES = 16 << 20;
    private static final int MAX_REDIRECTS = 5;
    private static final Set<Integer> REDIRECTS = Set.of(301, 302, 303, 307, 308);

    /** The files of a model at a commit. */
    record Listing(String commit, List<String> names) {}

    /**
     * An answer with the bytes of a file from some place on.
     *
     * @param start where in the file the body begins
     */
    record Body(long start, BodyReader reader) {}

    private record Answer(URI uri, HttpResponse<Flow.Publisher<List<ByteBuffer>>> response) {
        int status() {
            return response.statusCode();
        }

        Optional<String> header(String name) {
            return response.headers().firstValue(name);
        }

        /** Reads the header as a number; a bad one counts as none. */
        Optional<Long> number(String name) {
            return header(name).filter(text -> text.matches("\\d{1,18}")).map(Long::valueOf);
        }

        void discard() {
            response.body().subscribe(closed());
        }

        private static BodyReader closed() {
            BodyReader reader = new BodyReader("", Duration.ZERO);
            reader.close();
            return reader;
        }
    }

    private final HubSettings settings;
    private final HubModel model;
    private final HttpClient client;

    HubConnection(HubSettings settings, HubModel model) {
        this.settings = settings;
        this.model = model;
        client = HttpClient.newBuilder()
                .followRedirects(HttpClient.Redirect.NEVER) // the token must not go to another host
                .connectTimeout(settings.timing().connect())
                .build();
    }

    /**
     * Asks for the commit and its files.
     *
     * @throws HubFailure if there is no such model, or the answer is bad
     */
    Listing list() throws HubFailure, InterruptedException {
        String what = "the list of files";
        Answer answer = send("GET", uri("/api/models/", "/revision/" + encode(model.revision())), 0);
        require(answer, 200, what);
        JsonNode json;
        try (BodyReader reader = read(answer, what)) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            for (List<ByteBuffer> data = reader.next(); !data.isEmpty(); data = reader.next()) {
                for (ByteBuffer buffer : data) {
                    byte[] array = new byte[buffer.remaining()];
                    buffer.get(array);
                    bytes.writeBytes(array);
                }
                if (bytes.size() > MAX_LISTING_BYTES) {
                    throw HubFailure.permanent(what + " must have at most " + MAX_LISTING_BYTES + " bytes, got more");
                }
            }
            json = new JsonMapper().readTree(bytes.toByteArray());
        } catch (JsonProcessingException e) {
            throw HubFailure.permanent(what + " must be JSON, got something else");
        } catch (HubFailure e) {
            throw e;
        } catch (IOException e) {
            throw HubFailure.permanent(what + " must be JSON, got malformed characters");
        }
        String commit = json.path("sha").asText();
        boolean isOther = HubModel.isCommit(model.revision()) && !commit.equals(model.revision());
        if (!HubModel.isCommit(commit) || isOther) {
            throw HubFailure.permanent(what + " must be of the commit " + model.revision() + ", got "
                    + (HubModel.isCommit(commit) ? commit : "none"));
        }
        List<String> names = new ArrayList<>();
        json.path("siblings").forEach(file -> names.add(file.path("rfilename").asText()));
        return new Listing(commit, names);
    }

    /**
     * Asks for the size and the hash of a file.
     *
     * @throws HubFailure if there is no such file, or the answer is bad
     */
    HubFile describe(String commit, String name) throws HubFailure, InterruptedException {
        Answer answer = send("HEAD", file(commit, name), 0);
        answer.discard();
        if (!REDIRECTS.contains(answer.status())) { // which is to another host, and describes the file too
            require(answer, 200, name);
        }
        String tag =
                answer.header("X-Linked-Etag").or(() -> answer.header("ETag")).orElse("nothing");
        long size = answer.number("X-Linked-Size")
                .or(() -> REDIRECTS.contains(answer.status()) ? Optional.empty() : answer.number("Content-Length"))
                .orElse(-1L);
        try {
            return new HubFile(name, tag.replaceFirst("^W/", "").replace("\"", ""), size);
        } catch (IllegalArgumentException e) {
            throw HubFailure.permanent(name + ": " + e.getMessage());
        }
    }

    /**
     * Asks for the bytes of a file.
     *
     * @param from where to begin, less than the file's size or 0; the hub may ignore it
     * @throws HubFailure if there is no such file, or the answer is bad
     */
    Body open(String commit, HubFile file, long from) throws HubFailure, InterruptedException {
        Answer answer = send("GET", file(commit, file.name()), from);
        boolean isPart = answer.status() == 206;
        if (!isPart) {
            require(answer, 200, file.name());
        }
        long start = isPart ? from : 0;
        long announced = start + answer.number("Content-Length").orElse(file.size() - start);
        String range = answer.header("Content-Range").orElse("nothing");
        String expected = "bytes " + start + "-" + (file.size() - 1) + "/" + file.size();
        if (announced != file.size() || isPart && !range.equals(expected)) {
            answer.discard();
            throw HubFailure.permanent(file.name() + ": expected "
                    + (isPart ? expected + ", got " + range : file.size() + " bytes, got " + announced));
        }
        return new Body(start, read(answer, file.name()));
    }

    private URI file(String commit, String name) {
        return uri("/", "/resolve/" + commit + "/" + name);
    }

    private URI uri(String before, String after) {
        return URI.create(settings.endpoint() + before + model.repository() + after);
    }

    private static String encode(String revision) {
        return URLEncoder.encode(revision, UTF_8);
    }

    private BodyReader read(Answer answer, String what) {
        BodyReader reader = new BodyReader(what, settings.timing().stall());
        answer.response().body().subscribe(reader);
        return reader;
    }

    /** Follows redirects; those of HEAD only on the hub's own host, whose answers describe the file. */
    private Answer send(String method, URI uri, long from) throws HubFailure, InterruptedException {
        URI at = uri;
        for (int redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
            Answer answer = sendOnce(method, at, from);
            if (!REDIRECTS.contains(answer.status())) {
                return answer;
            }
            URI next = target(answer);
            if (method.equals("HEAD") && !isHub(next)) {
                return answer;
            }
            answer.discard();
            at = next;
        }
        throw HubFailure.permanent(uri.getHost() + " must redirect at most " + MAX_REDIRECTS + " times, got more");
    }

    private Answer sendOnce(String method, URI uri, long from) throws HubFailure, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(uri)
                .method(method, BodyPublishers.noBody())
                .timeout(settings.timing().stall())
                .header("User-Agent", "loomtorch")
                .header("Accept-Encoding", "identity");
        if (from > 0) {
            request.header("Range", "bytes=" + from + "-");
        }
        if (isHub(uri)) {
            settings.token().ifPresent(token -> request.header("Authorization", "Bearer " + token));
        }
        try {
            return new Answer(uri, client.send(request.build(), BodyHandlers.ofPublisher()));
        } catch (IOException e) {
            String reason = e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
            throw HubFailure.connection(uri.getHost() + " could not be reached: " + reason, e);
        }
    }

    private static URI target(Answer answer) throws HubFailure {
        String location = answer.header("Location").orElse("");
        try {
            URI target = answer.uri().resolve(location);
            boolean isHttp = "http".equals(target.getScheme())
                    && "http".equals(answer.uri().getScheme());
            if (target.getHost() != null && (isHttp || "https".equals(target.getScheme()))) {
                return target;
            }
        } catch (IllegalArgumentException e) {
            // reported below
        }
        answer.discard();
        throw HubFailure.permanent(answer.uri().getHost() + " must redirect to an https address, got another");
    }

    private boolean isHub(URI uri) {
        return origin(uri).equals(origin(settings.endpoint()));
    }

    private static String origin(URI uri) {
        int port = uri.getPort() >= 0 ? uri.getPort() : uri.getScheme().equals("https") ? 443 : 80;
        return (uri.getScheme() + "://" + uri.getHost() + ":" + port).toLowerCase(java.util.Locale.ROOT);
    }

    /** Turns any other status into a failure that says what to do. */
    private void require(Answer answer, int status, String what) throws HubFailure {
        int got = answer.status();
        if (got == status) {
            return;
        }
        answer.discard();
        String code = answer.header("X-Error-Code").orElse("");
        String host = answer.uri().getHost();
        if (got == 429 || got == 408 || got >= 500) {
            String reason = got == 429 ? " refuses so many requests (429)" : " failed (" + got + ")";
            throw HubFailure.temporary(host + reason + " when asked for " + what, retryAfter(answer));
        }
        if (code.equals("GatedRepo")) {
            throw HubFailure.permanent("the model is gated (" + got + "); ask for access at " + settings.endpoint()
                    + "/" + model.repository() + ", and put a token with access into HF_TOKEN");
        }
        if (code.equals("EntryNotFound")) {
            throw HubFailure.permanent("it has no file " + what);
        }
        if (code.equals("RevisionNotFound")) {
            throw HubFailure.permanent("it has no revision " + model.revision());
        }
        if (got == 401 && settings.token().isPresent() && code.isEmpty()) {
            throw HubFailure.permanent(host + " does not accept the token (401); check HF_TOKEN");
        }
        if (got == 401 || got == 404) {
            throw HubFailure.permanent("there is neither such a folder nor such a model (" + got
                    + "); check the name, and put a token into HF_TOKEN if the model is private");
        }
        throw HubFailure.permanent(host + " answered " + got + " when asked for " + what);
    }

    private static Duration retryAfter(Answer answer) {
        return Duration.ofSeconds(Math.min(answer.number("Retry-After").orElse(0L), Integer.MAX_VALUE));
    }

    /** Ends all connections, also those that hang. */
    @Override
    public void close() {
        client.shutdownNow();
    }
}
