package io.github.loomtorch.engine;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.request.SamplingParams;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(10)
class TokenBansTest {
    private static final int[] ENDING = {9};

    private static int[] banned(SamplingParams params, int promptLength, int... tokens) {
        return TokenBans.at(params, ENDING, tokens, promptLength, tokens.length);
    }

    @Test
    void endingIdsAreBannedUntilTheOutputIsLongEnough() {
        SamplingParams params = SamplingParams.builder().minNewTokens(2).build();
        assertArrayEquals(ENDING, banned(params, 1, 5));
        assertArrayEquals(ENDING, banned(params, 1, 5, 5));
        assertArrayEquals(new int[0], banned(params, 1, 5, 5, 5));
    }

    @Test
    void theLastIdOfBadWordIsBannedBehindTheOthers() {
        SamplingParams params = SamplingParams.builder()
                .badWordIds(List.of(List.of(1, 2, 3), List.of(4)))
                .build();
        assertArrayEquals(new int[] {4}, banned(params, 1, 7));
        assertArrayEquals(new int[] {4}, banned(params, 1, 7, 1));
        assertArrayEquals(new int[] {3, 4}, banned(params, 1, 7, 1, 2));
        assertArrayEquals(new int[] {4}, banned(params, 1, 7, 1, 2, 2));
        assertArrayEquals(new int[] {4}, banned(params, 2, 7, 1, 2)); // the prompt does not count
    }

    @Test
    void onlyBadWordsOfSeveralIdsDependOnTokens() {
        SamplingParams.Builder params = SamplingParams.builder().minNewTokens(3).badWordIds(List.of(List.of(1)));
        assertFalse(TokenBans.dependOnTokens(params.build()));
        params.badWordIds(List.of(List.of(1), List.of(1, 2)));
        assertTrue(TokenBans.dependOnTokens(params.build()));
    }
}
