package io.github.loomtorch.tokenizer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Ids and text of Hugging Face, for the kinds of tokenizers in {@code src/test/resources/tokenizers}. */
@Timeout(60)
class HuggingFaceTest {

    private static final Path KINDS = Path.of("src/test/resources/tokenizers");

    /** Here generated text keeps a special token that plain text is encoded to as well. */
    private static final Set<String> SPECIAL_IS_TEXT = Set.of("special-byte", "special-product");

    static List<String> kinds() throws IOException {
        try (Stream<Path> files = Files.list(KINDS)) {
            return files.filter(Files::isDirectory)
                    .map(kind -> kind.getFileName().toString())
                    .sorted()
                    .toList();
        }
    }

    @ParameterizedTest
    @MethodSource("kinds")
    void encodesAndDecodesAlike(String kind) throws IOException {
        BpeTokenizer tokenizer = BpeTokenizer.load(KINDS.resolve(kind));
        for (JsonNode row : new ObjectMapper()
                .readTree(KINDS.resolve(kind + "/expected.json").toFile())) {
            String text = row.get("text").textValue();
            int[] plain = ids(row.get("plain"));
            int[] special = ids(row.get("special"));
            assertArrayEquals(plain, tokenizer.encode(text), () -> "plain ids of " + row);
            assertArrayEquals(special, tokenizer.encodeWithSpecialTokens(text), () -> "ids of " + row);
            assertEquals(row.get("decoded").textValue(), tokenizer.decode(special));
            if (!SPECIAL_IS_TEXT.contains(kind)) {
                int[] generated = Arrays.stream(special)
                        .filter(id -> !tokenizer.isSpecial(id))
                        .toArray();
                assertEquals(row.get("generated").textValue(), tokenizer.decode(generated));
            }
            if (tokenizer.isLossless()) {
                int[] ofText = Arrays.stream(plain)
                        .filter(id -> !tokenizer.isSpecial(id))
                        .toArray();
                assertEquals(text, tokenizer.decode(ofText));
            }
        }
    }

    private static int[] ids(JsonNode array) {
        return IntStream.range(0, array.size())
                .map(i -> array.get(i).intValue())
                .toArray();
    }

    @Test
    void saysWhichAreLossless() throws IOException {
        List<String> lossless = kinds().stream()
                .filter(kind -> {
                    try {
                        return BpeTokenizer.load(KINDS.resolve(kind)).isLossless();
                    } catch (IOException e) {
                        throw new AssertionError(e);
                    }
                })
                .toList();
        assertTrue(
                lossless.containsAll(
                        List.of("plain", "template", "id-gaps", "special-byte", "unused-bytes-missing", "pair")),
                lossless::toString);
        for (String lossy :
                List.of("nfc", "prefix-space", "added-flags", "missing-bytes-dropped", "pair-missing-bytes")) {
            assertTrue(!lossless.contains(lossy), lossy);
        }
    }
}
