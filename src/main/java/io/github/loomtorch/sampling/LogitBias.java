package io.github.loomtorch.sampling;

import io.github.loomtorch.request.SamplingParams;
import java.util.Arrays;

/** What is added to a row of logits before the penalties: the request's bias, and negative infinity to ban an id. */
public final class LogitBias {
    private LogitBias() {}

    /**
     * Whether {@link #add} changes anything.
     *
     * @param params of the request
     * @param bannedIds ids that must not be chosen here
     * @return false if there is neither a bias nor a ban
     */
    public static boolean applies(SamplingParams params, int... bannedIds) {
        return !params.logitBias().isEmpty() || !params.allowedTokenIds().isEmpty() || bannedIds.length > 0;
    }

    /**
     * Adds the bias, and makes the logits of banned ids negative infinity.
     *
     * @param row [V] float32, changed
     * @param params whose {@code logitBias} and {@code allowedTokenIds} apply
     * @param bannedIds ids that must not be chosen here
     */
    public static void add(float[] row, SamplingParams params, int... bannedIds) {
        params.logitBias().forEach((id, bias) -> row[id] += bias);
        if (!params.allowedTokenIds().isEmpty()) {
            int[] allowed = params.allowedTokenIds().stream()
                    .mapToInt(Integer::intValue)
                    .toArray();
            float[] kept = new float[allowed.length];
            for (int i = 0; i < allowed.length; i++) {
                kept[i] = row[allowed[i]];
            }
            Arrays.fill(row, Float.NEGATIVE_INFINITY);
            for (int i = 0; i < allowed.length; i++) {
                row[allowed[i]] = kept[i];
            }
        }
        for (int id : bannedIds) {
            row[id] = Float.NEGATIVE_INFINITY;
        }
    }
}
