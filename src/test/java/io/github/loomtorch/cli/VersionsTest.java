package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class VersionsTest {
    @ParameterizedTest
    @CsvSource({
        "Main bench serve --api-key S$1 --url u, Main bench serve --api-key *** --url u",
        "Main bench serve --url u --api-key=S, Main bench serve --url u --api-key=***",
        "Main bench serve --requests 3, Main bench serve --requests 3",
        "Main serve --api-key-file keys.txt, Main serve --api-key-file keys.txt",
    })
    void theCommandHasNoKey(String command, String written) {
        String before = System.getProperty("sun.java.command");
        System.setProperty("sun.java.command", command);
        try {
            assertEquals(written, Versions.command());
        } finally {
            System.setProperty("sun.java.command", before);
        }
    }
}
