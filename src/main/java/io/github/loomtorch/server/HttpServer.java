package io.github.loomtorch.server;

import java.io.IOException;
import java.net.URI;
import java.nio.channels.UnresolvedAddressException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.eclipse.jetty.http.UriCompliance;
import org.eclipse.jetty.http2.server.HTTP2CServerConnectionFactory;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.NetworkConnectionLimit;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.util.VirtualThreads;
import org.eclipse.jetty.util.ssl.SslContextFactory;
import org.eclipse.jetty.util.thread.QueuedThreadPool;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Serves one model over HTTP/1.1 and HTTP/2, or over HTTP/1.1 with TLS if there is a key store. Its life:
 * {@link #start} listens and answers 503, {@link #serve} makes it ready, {@link #drain} refuses new requests and lets
 * those in flight end, {@link #close} stops it. Thread-safe.
 */
public final class HttpServer implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(HttpServer.class);
    private static final int MAX_PLATFORM_THREADS = 64;

    /** A model's name may have a slash, which some clients encode. */
    private static final UriCompliance URI_COMPLIANCE =
            UriCompliance.DEFAULT.with("models", UriCompliance.Violation.AMBIGUOUS_PATH_SEPARATOR);

    private static final long DRAIN_LOOK_MILLIS = 20;

    private final Server server;
    private final ServerConnector connector;
    private final Routes routes;
    private final LoadEvent loading = new LoadEvent();

    private HttpServer(ServerOptions options, String version, ServerMetrics metrics) {
        QueuedThreadPool threads = new QueuedThreadPool(MAX_PLATFORM_THREADS);
        threads.setName("loomtorch-http");
        threads.setVirtualThreadsExecutor(VirtualThreads.getDefaultVirtualThreadsExecutor());
        server = new Server(threads);
        HttpConfiguration http = new HttpConfiguration();
        http.setSendServerVersion(false);
        http.setUriCompliance(URI_COMPLIANCE);
        http.setRequestHeaderSize(options.maxHeaderBytes());
        HttpConnectionFactory http1 = new HttpConnectionFactory(http);
        connector = options.keyStore().isPresent()
                ? new ServerConnector(server, tls(options), http1)
                : new ServerConnector(server, http1, new HTTP2CServerConnectionFactory(http));
        connector.setHost(options.host());
        connector.setPort(options.port());
        connector.setIdleTimeout(options.idleTimeout().toMillis());
        connector.setAcceptQueueSize(
                options.maxConnections()); // by default 50: more at once would wait a second or fail
        server.addConnector(connector);
        server.addBean(new NetworkConnectionLimit(options.maxConnections(), server));
        server.setErrorHandler(new JettyErrors(metrics));
        loading.begin();
        routes = new Routes(options, version, metrics);
        server.setHandler(routes);
    }

    private static SslContextFactory.Server tls(ServerOptions options) {
        SslContextFactory.Server tls = new SslContextFactory.Server();
        tls.setKeyStorePath(options.keyStore().orElseThrow().toString());
        tls.setKeyStorePassword(options.keyStorePassword());
        return tls;
    }

    /**
     * Listens. Until {@link #serve}, requests for the model get 503.
     *
     * @param options where, and what it takes
     * @param version of this software, as {@code GET /version} reports it
     * @param metrics published at {@code GET /metrics}
     * @return a server, to be closed
     * @throws IOException if the address cannot be listened at, or the key store cannot be read
     */
    public static HttpServer start(ServerOptions options, String version, ServerMetrics metrics) throws IOException {
        if (options.keyStore().isPresent()) {
            checkKeyStore(options.keyStore().get(), options.keyStorePassword());
        }
        HttpServer started = new HttpServer(options, version, metrics);
        try {
            started.server.start();
        } catch (IOException | UnresolvedAddressException e) {
            started.stop();
            throw new IOException(
                    "listening failed: " + options.host() + ":" + options.port() + ": " + reason(e)
                            + "; choose another --host or --port",
                    e);
        } catch (Exception e) {
            started.stop();
            throw new IllegalStateException("the HTTP server did not start: " + e.getMessage(), e);
        }
        LOG.info("listening on {}", started.uri());
        return started;
    }

    /** Jetty only says that it could not bind; its cause says why. */
    private static String reason(Exception e) {
        Throwable cause = e.getCause() == null ? e : e.getCause();
        return cause instanceof UnresolvedAddressException ? "no such host" : String.valueOf(cause.getMessage());
    }

    private static void checkKeyStore(Path file, String password) throws IOException {
        if (!Files.isRegularFile(file)) {
            throw new IOException(
                    file + ": expected a key store, got " + (Files.exists(file) ? "a directory" : "nothing"));
        }
        try {
            KeyStore keys = KeyStore.getInstance(file.toFile(), password.toCharArray());
            if (!keys.aliases().hasMoreElements()) {
                throw new IOException(file + ": expected a certificate and its key, got an empty key store");
            }
        } catch (GeneralSecurityException | IOException e) {
            throw new IOException(
                    file + ": expected a key store in the PKCS #12 or JKS format and its password, got: "
                            + e.getMessage(),
                    e);
        }
    }

    /**
     * Where it listens.
     *
     * @return {@code http://host:port/}, or {@code https} with TLS
     */
    public URI uri() {
        String host = connector.getHost();
        String bracketed = host.contains(":") && !host.startsWith("[") ? "[" + host + "]" : host;
        String scheme = connector.getDefaultProtocol().startsWith("SSL") ? "https" : "http";
        return URI.create(scheme + "://" + bracketed + ":" + connector.getLocalPort() + "/");
    }

    /**
     * Takes requests for a model from now on.
     *
     * @param model loaded and warm; its scheduler is not closed by this server
     */
    public void serve(ServedModel model) {
        routes.serve(model);
        loading.commit(model);
        LOG.info("ready: model {} ({}), at most {} tokens", model.name(), model.fingerprint(), model.contextLength());
    }

    /**
     * Is no longer ready, refuses new requests with 503, and waits for those in flight. Those that have not ended in
     * time are cancelled; their streams get a last event that says so.
     *
     * @param patience how long to wait for requests in flight, &gt;= 0
     * @throws InterruptedException if interrupted while waiting; the requests in flight go on
     */
    public void drain(Duration patience) throws InterruptedException {
        routes.drain();
        LOG.info("draining for at most {} s", patience.toSeconds());
        long deadline = System.nanoTime() + patience.toNanos();
        while (routes.requestsInFlight() > 0 && System.nanoTime() < deadline) {
            TimeUnit.MILLISECONDS.sleep(DRAIN_LOOK_MILLIS);
        }
        if (routes.requestsInFlight() > 0) {
            LOG.warn("cancelling the requests that have not ended within {} s", patience.toSeconds());
            routes.abort();
            long abortDeadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(5);
            while (routes.requestsInFlight() > 0 && System.nanoTime() < abortDeadline) {
                TimeUnit.MILLISECONDS.sleep(DRAIN_LOOK_MILLIS);
            }
        }
    }

    /**
     * How many requests for the model are in flight: waiting, running or being written.
     *
     * @return &gt;= 0
     */
    public int requestsInFlight() {
        return routes.requestsInFlight();
    }

    /** Stops listening and closes all connections. Idempotent. */
    @Override
    public void close() {
        stop();
        LOG.info("stopped");
    }

    private void stop() {
        try {
            server.stop();
        } catch (Exception e) {
            LOG.warn("the HTTP server did not stop cleanly", e);
        }
    }
}
