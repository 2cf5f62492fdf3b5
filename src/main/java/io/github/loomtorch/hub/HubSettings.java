package io.github.loomtorch.hub;

import java.io.IOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Where the hub and the cache are, and how long to wait. Immutable.
 *
 * @param endpoint the hub's address, {@code http} or {@code https}
 * @param cache the folder with a folder for each model
 * @param token sent to the hub, if there is one
 * @param offline whether only the cache is used
 * @param timing how long to wait
 */
public record HubSettings(URI endpoint, Path cache, Optional<String> token, boolean offline, Timing timing) {

    /**
     * How long to wait, and how often to try.
     *
     * @param connect for a connection
     * @param stall for the next bytes
     * @param attempts in a row that bring no byte, &gt;= 1
     * @param backOff before the second attempt; doubled before each further one
     * @param lockPoll between two looks at the lock that another process holds
     */
    public record Timing(Duration connect, Duration stall, int attempts, Duration backOff, Duration lockPoll) {
        /** For a real network. */
        public static final Timing USUAL = new Timing(
                Duration.ofSeconds(10), Duration.ofSeconds(30), 5, Duration.ofMillis(500), Duration.ofMillis(200));
    }

    private static final Set<String> TRUE = Set.of("1", "ON", "YES", "TRUE");

    /**
     * Reads the environment variables of Python's {@code huggingface_hub}: {@code HF_ENDPOINT}, {@code HF_HUB_CACHE},
     * {@code HF_HOME}, {@code XDG_CACHE_HOME}, {@code HF_TOKEN}, {@code HF_TOKEN_PATH} and {@code HF_HUB_OFFLINE}. An
     * empty variable counts as not set.
     *
     * @param environment variables and their values
     * @param userHome the user's home folder
     * @return the settings, with {@link Timing#USUAL}
     * @throws IOException if a variable has a bad value, or the file with the token cannot be read
     */
    public static HubSettings of(Map<String, String> environment, Path userHome) throws IOException {
        Path caches = path(environment, "XDG_CACHE_HOME", userHome).orElse(userHome.resolve(".cache"));
        Path home = path(environment, "HF_HOME", userHome).orElse(caches.resolve("huggingface"));
        Path tokenFile = path(environment, "HF_TOKEN_PATH", userHome).orElse(home.resolve("token"));
        Optional<String> token = value(environment, "HF_TOKEN");
        return new HubSettings(
                endpoint(value(environment, "HF_ENDPOINT").orElse("https://huggingface.co")),
                path(environment, "HF_HUB_CACHE", userHome).orElse(home.resolve("hub")),
                token.isPresent() ? Optional.of(checked(token.get().strip(), "HF_TOKEN")) : readToken(tokenFile),
                value(environment, "HF_HUB_OFFLINE")
                        .map(String::toUpperCase)
                        .filter(TRUE::contains)
                        .isPresent(),
                Timing.USUAL);
    }

    private static Optional<String> value(Map<String, String> environment, String name) {
        return Optional.of(environment.getOrDefault(name, "")).filter(value -> !value.isBlank());
    }

    private static Optional<Path> path(Map<String, String> environment, String name, Path userHome) {
        return value(environment, name)
                .map(value -> value.equals("~") || value.startsWith("~/")
                        ? userHome.resolve(value.substring(Math.min(2, value.length())))
                        : Path.of(value));
    }

    private static URI endpoint(String text) throws IOException {
        try {
            URI uri = new URI(text.replaceFirst("/+$", ""));
            boolean isHttp = "https".equalsIgnoreCase(uri.getScheme()) || "http".equalsIgnoreCase(uri.getScheme());
            if (isHttp && uri.getHost() != null && uri.getQuery() == null && uri.getFragment() == null) {
                return uri;
            }
        } catch (URISyntaxException e) {
            // reported below
        }
        throw new IOException("HF_ENDPOINT must be an address such as https://huggingface.co, got " + text);
    }

    private static Optional<String> readToken(Path file) throws IOException {
        if (!Files.isRegularFile(file)) {
            return Optional.empty();
        }
        String token = Files.readString(file).strip();
        return token.isEmpty() ? Optional.empty() : Optional.of(checked(token, file.toString()));
    }

    /** The token is not repeated in the message. */
    private static String checked(String token, String where) throws IOException {
        if (!token.chars().allMatch(c -> c > ' ' && c < 127)) {
            throw new IOException(where + " must have a token of ASCII letters and digits, got other characters");
        }
        return token;
    }
}
