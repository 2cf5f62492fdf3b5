package io.github.loomtorch.sampling;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import io.github.loomtorch.request.SamplingParams;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(10)
class LogitBiasTest {
    private static final float BANNED = Float.NEGATIVE_INFINITY;

    @Test
    void addsBiasAndBansWhatIsNotAllowed() {
        SamplingParams params = SamplingParams.builder()
                .logitBias(Map.of(0, 5f, 1, 5f, 2, -1f))
                .allowedTokenIds(Set.of(0, 2, 3))
                .build();
        float[] row = {1, 1, 1, 1, 1};
        LogitBias.add(row, params, 3);
        assertArrayEquals(new float[] {6, BANNED, 0, BANNED, BANNED}, row);
    }
}
