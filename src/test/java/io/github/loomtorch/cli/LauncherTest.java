package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.CommandProcess;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class LauncherTest {
    private static final int JAVA_8 = 52;
    private static final Path JDKS = Path.of("/usr/lib/jvm");

    @ParameterizedTest
    @ValueSource(strings = {"1.7", "1.8", "9", "11", "17", "20"})
    void anOlderJavaIsTooOld(String version) {
        assertTrue(Launcher.isTooOld(version));
    }

    @ParameterizedTest
    @ValueSource(strings = {"21", "22", "25", "100"})
    void java21AndLaterAreNot(String version) {
        assertFalse(Launcher.isTooOld(version));
    }

    @Test
    void java8CanLoadIt() throws IOException {
        try (InputStream file = Launcher.class.getResourceAsStream("Launcher.class")) {
            DataInputStream in = new DataInputStream(file);
            assertEquals(0xCAFEBABE, in.readInt());
            in.readUnsignedShort(); // minor version
            assertEquals(JAVA_8, in.readUnsignedShort());
        }
    }

    /** Only where such a JDK is installed; the tests above cover the rest. */
    @TestFactory
    List<DynamicTest> everyOlderJavaOfThisMachineSaysWhichOneItNeeds() throws IOException {
        if (!Files.isDirectory(JDKS)) {
            return List.of();
        }
        try (Stream<Path> homes = Files.list(JDKS)) {
            return homes.filter(home -> Files.isExecutable(home.resolve("bin/java")))
                    .filter(home -> Launcher.isTooOld(version(home)))
                    .map(home -> DynamicTest.dynamicTest(home.toString(), () -> {
                        CommandProcess.Result result = CommandProcess.of(home, Launcher.class, "--version")
                                .run();
                        assertEquals(
                                Launcher.refusal(
                                                version(home), home.toRealPath().toString()) + "\n",
                                result.err());
                        assertEquals("", result.out());
                        assertEquals(1, result.status());
                    }))
                    .toList();
        }
    }

    /** As in {@code java.specification.version}. */
    private static String version(Path home) {
        try {
            String line = Files.readAllLines(home.resolve("release")).stream()
                    .filter(property -> property.startsWith("JAVA_VERSION="))
                    .findFirst()
                    .orElse("JAVA_VERSION=\"99\"");
            return line.replaceAll(".*\"((?:1\\.)?\\d+).*", "$1");
        } catch (IOException e) {
            return "99"; // no JDK
        }
    }

    @Test
    void itRunsTheCommandLine() throws Exception {
        CommandProcess.Result result = new CommandProcess(Launcher.class, "--version").run();
        assertTrue(result.out().startsWith("loomtorch "), result.out());
        assertEquals("", result.err());
        assertEquals(0, result.status());
    }
}
