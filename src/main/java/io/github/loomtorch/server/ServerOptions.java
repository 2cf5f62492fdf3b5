package io.github.loomtorch.server;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;

/**
 * Where a server listens and what it takes. Immutable.
 *
 * @param host name or address to listen at; {@code 127.0.0.1} is reached from this machine only
 * @param port in [0, 65535]; 0 takes a free one
 * @param apiKeys one of which a client has to send, if there are any; not printed
 * @param maxBodyBytes most bytes of a request's body, &gt;= 1
 * @param maxHeaderBytes most bytes of a request's headers, &gt;= 1
 * @param maxConnections most connections at a time, &gt;= 1; more wait until one is closed
 * @param maxChoices most continuations that one request may ask for, prompts times {@code n}, &gt;= 1
 * @param idleTimeout how long a connection may be silent, or a reader leave what was written unread, &gt; 0
 * @param keyStore a key store in the PKCS #12 or JKS format with the certificate for TLS and its key; without it HTTP
 *     is not encrypted
 * @param keyStorePassword of the key store and its key; not printed
 * @param logPrompts whether the log has the prompt of each request
 */
public record ServerOptions(
        String host,
        int port,
        List<String> apiKeys,
        int maxBodyBytes,
        int maxHeaderBytes,
        int maxConnections,
        int maxChoices,
        Duration idleTimeout,
        Optional<Path> keyStore,
        String keyStorePassword,
        boolean logPrompts) {

    /**
     * Validates and copies.
     *
     * @throws IllegalArgumentException naming the first option that is out of its range
     */
    public ServerOptions {
        Objects.requireNonNull(host, "host");
        if (port < 0 || port > 65535) {
            throw new IllegalArgumentException("port must be in [0, 65535], got " + port);
        }
        requireAtLeastOne(maxBodyBytes, "maxBodyBytes");
        requireAtLeastOne(maxHeaderBytes, "maxHeaderBytes");
        requireAtLeastOne(maxConnections, "maxConnections");
        requireAtLeastOne(maxChoices, "maxChoices");
        if (!idleTimeout.isPositive()) {
            throw new IllegalArgumentException("idleTimeout must be > 0, got " + idleTimeout);
        }
        for (String key : apiKeys) {
            if (key.isBlank()) {
                throw new IllegalArgumentException("apiKeys must not be blank");
            }
        }
        apiKeys = List.copyOf(apiKeys);
    }

    private static void requireAtLeastOne(int value, String name) {
        if (value < 1) {
            throw new IllegalArgumentException(name + " must be >= 1, got " + value);
        }
    }

    /**
     * A builder that starts from the default options.
     *
     * @return {@code 127.0.0.1:8000} without keys; 4 MiB of body, 16 KiB of headers, 4096 connections, 1024 choices, 30
     *     s idle
     */
    public static Builder builder() {
        return new Builder();
    }

    @Override
    public String toString() {
        return "ServerOptions[host=" + host + ", port=" + port + ", apiKeys=" + apiKeys.size() + ", maxBodyBytes="
                + maxBodyBytes + ", maxHeaderBytes=" + maxHeaderBytes + ", maxConnections=" + maxConnections
                + ", maxChoices=" + maxChoices + ", idleTimeout=" + idleTimeout + ", keyStore=" + keyStore
                + ", logPrompts="
                + logPrompts + "]";
    }

    /** Collects options; {@link #build()} checks the ranges. Not thread-safe. */
    public static final class Builder {
        private String host = "127.0.0.1";
        private int port = 8000;
        private List<String> apiKeys = List.of();
        private int maxBodyBytes = 4 << 20;
        private int maxHeaderBytes = 16 << 10;
        private int maxConnections = 4096;
        private int maxChoices = 1024;
        private Duration idleTimeout = Duration.ofSeconds(30);
        private Optional<Path> keyStore = Optional.empty();
        private String keyStorePassword = "";
        private boolean logPrompts = false;

        private Builder() {}

        /**
         * Sets {@link ServerOptions#host()}.
         *
         * @param host name or address to listen at
         * @return this
         */
        public Builder host(String host) {
            this.host = host;
            return this;
        }

        /**
         * Sets {@link ServerOptions#port()}.
         *
         * @param port in [0, 65535]; 0 takes a free one
         * @return this
         */
        public Builder port(int port) {
            this.port = port;
            return this;
        }

        /**
         * Sets {@link ServerOptions#apiKeys()}.
         *
         * @param apiKeys one of which a client has to send
         * @return this
         */
        public Builder apiKeys(List<String> apiKeys) {
            this.apiKeys = apiKeys;
            return this;
        }

        /**
         * Sets {@link ServerOptions#maxBodyBytes()}.
         *
         * @param maxBodyBytes &gt;= 1
         * @return this
         */
        public Builder maxBodyBytes(int maxBodyBytes) {
            this.maxBodyBytes = maxBodyBytes;
            return this;
        }

        /**
         * Sets {@link ServerOptions#maxHeaderBytes()}.
         *
         * @param maxHeaderBytes &gt;= 1
         * @return this
         */
        public Builder maxHeaderBytes(int maxHeaderBytes) {
            this.maxHeaderBytes = maxHeaderBytes;
            return this;
        }

        /**
         * Sets {@link ServerOptions#maxConnections()}.
         *
         * @param maxConnections &gt;= 1
         * @return this
         */
        public Builder maxConnections(int maxConnections) {
            this.maxConnections = maxConnections;
            return this;
        }

        /**
         * Sets {@link ServerOptions#maxChoices()}.
         *
         * @param maxChoices &gt;= 1
         * @return this
         */
        public Builder maxChoices(int maxChoices) {
            this.maxChoices = maxChoices;
            return this;
        }

        /**
         * Sets {@link ServerOptions#idleTimeout()}.
         *
         * @param idleTimeout &gt; 0
         * @return this
         */
        public Builder idleTimeout(Duration idleTimeout) {
            this.idleTimeout = idleTimeout;
            return this;
        }

        /**
         * Sets {@link ServerOptions#keyStore()}.
         *
         * @param keyStore with the certificate for TLS and its key
         * @return this
         */
        public Builder keyStore(Path keyStore) {
            this.keyStore = Optional.of(keyStore);
            return this;
        }

        /**
         * Sets {@link ServerOptions#keyStorePassword()}.
         *
         * @param keyStorePassword of the key store and its key
         * @return this
         */
        public Builder keyStorePassword(String keyStorePassword) {
            this.keyStorePassword = keyStorePassword;
            return this;
        }

        /**
         * Sets {@link ServerOptions#logPrompts()}.
         *
         * @param logPrompts whether the log has the prompt of each request
         * @return this
         */
        public Builder logPrompts(boolean logPrompts) {
            this.logPrompts = logPrompts;
            return this;
        }

        /**
         * The options.
         *
         * @return a new instance
         * @throws IllegalArgumentException naming the first option that is out of its range
         */
        public ServerOptions build() {
            return new ServerOptions(
                    host,
                    port,
                    apiKeys,
                    maxBodyBytes,
                    maxHeaderBytes,
                    maxConnections,
                    maxChoices,
                    idleTimeout,
                    keyStore,
                    keyStorePassword,
                    logPrompts);
        }
    }
}
