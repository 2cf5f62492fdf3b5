package io.github.loomtorch.hub;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(20)
class HubModelTest {
    @ParameterizedTest
    @CsvSource({
        "gpt2, gpt2, main",
        "openai-community/gpt2, openai-community/gpt2, main",
        "org/name@v1.0, org/name, v1.0",
        "microsoft/DialoGPT-medium@refs/pr/22, microsoft/DialoGPT-medium, refs/pr/22",
        "a/b@607a30d783dfa663caf39e06633721c8d4cfcd7e, a/b, 607a30d783dfa663caf39e06633721c8d4cfcd7e"
    })
    void readsANameAndARevision(String text, String repository, String revision) {
        assertEquals(Optional.of(new HubModel(repository, revision)), HubModel.parse(text));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "", "/", "a/", "/a", "a/b/c", ".", "..", "../a", "a/..", "./a", ".hidden", "a/.hidden", "a..b",
                        "a--b/c",
                "a\\b", "C:\\a", "a b", "a\0b", "a\nb", "ä", "~", "~/a", "a@", "a@..", "a@../b", "a@b/../c", "a@/b",
                        "a@b//c",
                "a@.b", "a@b@c", "a@b\\c", "a@-b", "a?b", "a%2fb", "a.", "a-/b"
            })
    void isNoNameIfItCouldBeAPathOrAnAddress(String text) {
        assertEquals(Optional.empty(), HubModel.parse(text));
    }

    @Test
    void isNoNameIfItIsTooLong() {
        assertEquals(Optional.empty(), HubModel.parse("a".repeat(97)));
        assertEquals(Optional.empty(), HubModel.parse("a@" + "b".repeat(201)));
        assertEquals(
                96 + 1 + 96,
                HubModel.parse("a".repeat(96) + "/" + "b".repeat(96))
                        .orElseThrow()
                        .repository()
                        .length());
    }

    @Test
    void aFolderThatExistsAndAPathComeBeforeAName(@TempDir Path dir) throws IOException {
        for (String path : new String[] {
            "src", "src/main", "./gpt2", "../gpt2", dir.resolve("gpt2").toString()
        }) {
            assertEquals(Path.of(path), Hub.locate(path, HubProgress.NONE));
        }
        assertThrows(IllegalArgumentException.class, () -> Hub.locate("a\0b", HubProgress.NONE));
    }
}
