package io.github.loomtorch.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A server with a certificate of its own. */
@Timeout(30)
class TlsTest {
    private static final String PASSWORD = "secret";

    @TempDir
    private static Path directory;

    private static Path keys;

    @BeforeAll
    static void makeCertificate() throws Exception {
        keys = directory.resolve("keys.p12");
        Process keytool = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "keytool")
                                .toString(),
                        "-genkeypair",
                        "-alias",
                        "server",
                        "-keyalg",
                        "EC",
                        "-dname",
                        "CN=localhost",
                        "-ext",
                        "san=ip:127.0.0.1",
                        "-storetype",
                        "PKCS12",
                        "-storepass",
                        PASSWORD,
                        "-keystore",
                        keys.toString())
                .inheritIO()
                .start();
        assertEquals(0, keytool.waitFor());
    }

    private static HttpClient trusting() throws Exception {
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(KeyStore.getInstance(keys.toFile(), PASSWORD.toCharArray()));
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return HttpClient.newBuilder().sslContext(context).build();
    }

    @Test
    void completesAndStreamsOverTls() throws Exception {
        try (FakeServer fake = new FakeServer(
                        options -> options.keyStore(keys).keyStorePassword(PASSWORD), queue -> queue, model -> model);
                HttpClient client = trusting()) {
            URI uri = fake.uri("/v1/completions");
            assertEquals("https", uri.getScheme());
            for (boolean stream : new boolean[] {false, true}) {
                HttpRequest request = HttpRequest.newBuilder(uri)
                        .POST(HttpRequest.BodyPublishers.ofString(
                                "{\"prompt\": \"abc\", \"ignore_eos\": true, \"stream\": " + stream + "}"))
                        .build();
                HttpResponse<String> answer = client.send(request, BodyHandlers.ofString());
                assertEquals(200, answer.statusCode());
                assertEquals(stream, answer.body().endsWith("data: [DONE]\n\n"));
            }
            HttpRequest plain = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + uri.getPort() + "/health"))
                    .build();
            assertThrows(IOException.class, () -> client.send(plain, BodyHandlers.ofString()));
        }
    }

    @Test
    void aBadKeyStoreIsRefusedInOneSentence() throws Exception {
        Path text = Files.writeString(directory.resolve("text.p12"), "no keys");
        for (Path file : new Path[] {text, keys}) {
            IOException refused = assertThrows(
                    IOException.class,
                    () -> FakeServer.loading(options -> options.keyStore(file).keyStorePassword("wrong"))
                            .close());
            assertTrue(
                    refused.getMessage().startsWith(file + ": expected a key store in the PKCS #12 or JKS format"),
                    refused.getMessage());
        }
    }

    @Test
    void aMissingKeyStoreIsNamed() {
        Path none = directory.resolve("none.p12");
        assertEquals(
                none + ": expected a key store, got nothing",
                assertThrows(
                                IOException.class,
                                () -> FakeServer.loading(options -> options.keyStore(none))
                                        .close())
                        .getMessage());
    }

    @Test
    void optionsDoNotPrintThePassword() {
        String text = ServerOptions.builder()
                .keyStore(keys)
                .keyStorePassword(PASSWORD)
                .build()
                .toString();
        assertTrue(text.contains("keys.p12") && !text.contains(PASSWORD), text);
    }
}
