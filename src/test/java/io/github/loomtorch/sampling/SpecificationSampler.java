package io.github.loomtorch.sampling;

import io.github.loomtorch.request.SamplingParams;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/** The package description, word for word: sorts everything, allocates freely. */
final class SpecificationSampler {

    private SpecificationSampler() {}

    static int sample(
            float[] logits,
            SamplingParams params,
            float u,
            int[] tokens,
            int promptLength,
            int length,
            int... bannedIds) {
        float[] x = new float[logits.length];
        for (int id = 0; id < x.length; id++) {
            boolean allowed = params.allowedTokenIds().isEmpty()
                    || params.allowedTokenIds().contains(id);
            boolean banned = IntStream.of(bannedIds).anyMatch(Integer.valueOf(id)::equals);
            x[id] = allowed && !banned
                    ? logits[id] + params.logitBias().getOrDefault(id, 0f) + 0f
                    : Float.NEGATIVE_INFINITY;
        }
        Set<Integer> distinct = new HashSet<>();
        for (int i = 0; i < length; i++) {
            int id = tokens[i];
            if (distinct.add(id)) {
                x[id] = x[id] > 0 ? x[id] / params.repetitionPenalty() : x[id] * params.repetitionPenalty();
                int count = 0;
                for (int j = promptLength; j < length; j++) {
                    count += tokens[j] == id ? 1 : 0;
                }
                if (count > 0) {
                    x[id] = x[id] - params.frequencyPenalty() * count - params.presencePenalty();
                }
                x[id] += 0f;
            }
        }
        List<Integer> kept = new ArrayList<>();
        for (int id = 0; id < x.length; id++) {
            kept.add(id);
        }
        kept.sort(Comparator.comparing((Integer id) -> 0f - x[id]).thenComparing(id -> id));
        if (params.temperature() == 0) {
            return kept.getFirst();
        }
        float max = x[kept.getFirst()];
        float scale = (float) Math.min(1 / (params.temperature() * StrictMath.log(2)), Float.MAX_VALUE);
        if (params.topK() > 0 && params.topK() < x.length) {
            float kth = x[kept.get(params.topK() - 1)];
            kept.removeIf(id -> x[id] < kth);
        }
        double limit = params.topP() * (double) mass(kept, x, max, scale);
        long preceding = 0;
        List<Integer> nucleus = new ArrayList<>();
        for (int id : kept) {
            if (preceding < limit) {
                nucleus.add(id);
            }
            preceding += weight((x[id] - max) * scale);
        }
        float minExponent = (float) (StrictMath.log(params.minP()) / StrictMath.log(2));
        nucleus.removeIf(id -> (x[id] - max) * scale < minExponent);
        double target = Math.floor(u * (double) mass(nucleus, x, max, scale));
        long sum = 0;
        for (int id : nucleus) {
            sum += weight((x[id] - max) * scale);
            if (sum > target) {
                return id;
            }
        }
        throw new AssertionError("the sum must exceed " + target);
    }

    static long weight(float exponent) {
        return exponent < -41 ? 0 : (long) Sampler.mantissa(exponent) << 16 >> -(int) exponent;
    }

    private static long mass(List<Integer> ids, float[] x, float max, float scale) {
        return ids.stream().mapToLong(id -> weight((x[id] - max) * scale)).sum();
    }
}
