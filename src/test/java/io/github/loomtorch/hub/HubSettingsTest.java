package io.github.loomtorch.hub;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(20)
class HubSettingsTest {
    @TempDir
    Path home;

    private HubSettings settings(Map<String, String> environment) throws IOException {
        return HubSettings.of(environment, home);
    }

    @Test
    void hasPythonsDefaults() throws IOException {
        assertEquals(
                new HubSettings(
                        URI.create("https://huggingface.co"),
                        home.resolve(".cache/huggingface/hub"),
                        Optional.empty(),
                        false,
                        HubSettings.Timing.USUAL),
                settings(Map.of("HF_HOME", "", "HF_TOKEN", "")));
    }

    @Test
    void theCacheIsWhereTheNearestVariableSays() throws IOException {
        assertEquals(
                Path.of("/x/huggingface/hub"),
                settings(Map.of("XDG_CACHE_HOME", "/x")).cache());
        assertEquals(
                Path.of("/h/hub"),
                settings(Map.of("XDG_CACHE_HOME", "/x", "HF_HOME", "/h")).cache());
        assertEquals(
                Path.of("/c"),
                settings(Map.of("HF_HOME", "/h", "HF_HUB_CACHE", "/c")).cache());
        assertEquals(home.resolve("h/hub"), settings(Map.of("HF_HOME", "~/h")).cache());
    }

    @Test
    void theTokenIsTheVariablesElseTheFiles() throws IOException {
        Files.createDirectories(home.resolve("h"));
        Files.writeString(home.resolve("h/token"), "hf_file\n");
        Files.writeString(home.resolve("other"), "hf_other");
        String h = home.resolve("h").toString();
        assertEquals(Optional.of("hf_file"), settings(Map.of("HF_HOME", h)).token());
        assertEquals(
                Optional.of("hf_env"),
                settings(Map.of("HF_HOME", h, "HF_TOKEN", " hf_env ")).token());
        assertEquals(
                Optional.of("hf_other"),
                settings(Map.of("HF_TOKEN_PATH", home.resolve("other").toString()))
                        .token());
    }

    @Test
    void aTokenThatIsNoHeaderIsRefusedAndNotRepeated() {
        IOException e = assertThrows(IOException.class, () -> settings(Map.of("HF_TOKEN", "se\r\ncret")));
        assertEquals("HF_TOKEN must have a token of ASCII letters and digits, got other characters", e.getMessage());
    }

    @ParameterizedTest
    @CsvSource({"1, true", "true, true", "YES, true", "on, true", "0, false", "no, false", "'', false"})
    void readsOffline(String value, boolean expected) throws IOException {
        assertEquals(expected, settings(Map.of("HF_HUB_OFFLINE", value)).offline());
    }

    @Test
    void readsTheEndpoint() throws IOException {
        assertEquals(
                URI.create("http://mirror:8080/hf"),
                settings(Map.of("HF_ENDPOINT", "http://mirror:8080/hf/")).endpoint());
        assertFalse(settings(Map.of()).offline());
    }

    @ParameterizedTest
    @ValueSource(strings = {"huggingface.co", "ftp://x", "file:///etc", "https://", "https://a b", "https://x?y"})
    void refusesAnEndpointThatIsNoAddress(String value) {
        IOException e = assertThrows(IOException.class, () -> settings(Map.of("HF_ENDPOINT", value)));
        assertEquals("HF_ENDPOINT must be an address such as https://huggingface.co, got " + value, e.getMessage());
    }
}
