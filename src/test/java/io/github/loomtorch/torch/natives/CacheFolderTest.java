package io.github.loomtorch.torch.natives;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class CacheFolderTest {
    @TempDir
    Path folder; // an absolute path of this platform

    private final Map<String, String> properties = new HashMap<>();
    private final Map<String, String> environment = new HashMap<>();

    @BeforeEach
    void setHome() {
        properties.put("user.home", folder.resolve("home").toString());
    }

    @Test
    void isInTheHomeFolderUnlessSet() {
        environment.put("LOOMTORCH_CACHE", "");
        environment.put("XDG_CACHE_HOME", "");
        properties.put("loomtorch.cache", "");
        assertEquals(folder.resolve("home/.cache/loomtorch"), path());
    }

    @Test
    void followsXdgCacheHomeIfItIsAbsolute() {
        environment.put("XDG_CACHE_HOME", folder.resolve("xdg").toString());
        assertEquals(folder.resolve("xdg/loomtorch"), path());
        environment.put("XDG_CACHE_HOME", "relative");
        assertEquals(folder.resolve("home/.cache/loomtorch"), path());
    }

    @Test
    void theEnvironmentVariableBeatsXdgAndTheSystemPropertyBeatsBoth() {
        environment.put("XDG_CACHE_HOME", folder.resolve("xdg").toString());
        environment.put("LOOMTORCH_CACHE", folder.resolve("environment").toString());
        assertEquals(folder.resolve("environment"), path());
        properties.put("loomtorch.cache", folder.resolve("property").toString());
        assertEquals(folder.resolve("property"), path());
    }

    private Path path() {
        return CacheFolder.path(properties::get, environment::get);
    }
}
