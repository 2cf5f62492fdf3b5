package io.github.loomtorch.server;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.loomtorch.sampling.Sampler;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class SamplingFieldsTest {
    @Test
    void logitsAreNoField() {
        String message =
                String.valueOf(Sampler.unusable(Sampler.Unusable.ADJUSTED_LOGIT, 64, Float.POSITIVE_INFINITY, 100)
                        .getMessage());
        ApiException refusal = SamplingFields.refusal(new IllegalArgumentException(message));
        assertEquals(400, refusal.status());
        assertEquals(Optional.empty(), refusal.parameter());
        assertEquals(
                "logits must be finite or -infinity after logit_bias and penalties, got Infinity at token id 64; bring"
                        + " these closer to their defaults",
                refusal.getMessage());
    }
}
