package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(30)
class SuggestionTest {
    private static final List<String> NAMES = List.of(
            "generate", "tokenize", "--top-k", "--top-p", "--tokenizer", "--max-new-tokens", "--dtype", "--seed", "-V");

    @ParameterizedTest
    @CsvSource({
        "generate, generate",
        "genrate, generate",
        "gen, generate",
        "tokenise, tokenize",
        "--topk, --top-k",
        "--top_p, --top-p",
        "--max-tokens, --max-new-tokens",
        "--sed, --seed",
        "--typo,",
        "-x,",
        "--temperature,",
        "'',"
    })
    void theNearestNameIsFoundUnlessItIsFar(String word, String nearest) {
        assertEquals(nearest, Suggestion.nearest(word, NAMES).orElse(null));
    }
}
