package io.github.loomtorch.doctor;

import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.torch.natives.Failures;
import java.util.Arrays;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;

/**
 * Two tokens by the embedded model, which are known. Immutable.
 *
 * @param seconds to load the model and generate
 * @param failure what went wrong; empty if the tokens were right
 */
public record SelfTest(double seconds, Optional<String> failure) {
    private static final int[] PROMPT = {7454, 2402, 257, 640}; // Once upon a time
    private static final int[] EXPECTED = {11, 290}; // , and

    /**
     * Runs the test.
     *
     * @param model opens the embedded model on the device to be tested
     * @return what came of it, also where nothing can be loaded
     */
    public static SelfTest run(Callable<TextGenerator> model) {
        long startNanos = System.nanoTime();
        Optional<String> failure = failure(model);
        return new SelfTest((System.nanoTime() - startNanos) / 1e9, failure);
    }

    private static Optional<String> failure(Callable<TextGenerator> model) {
        try (TextGenerator tales = model.call()) {
            int[] ids = tales.generate(new GenerationRequest(PROMPT, SamplingParams.greedy(EXPECTED.length)))
                    .outputTokenIds();
            return Arrays.equals(ids, EXPECTED)
                    ? Optional.empty()
                    : Optional.of("the embedded model must generate " + Arrays.toString(EXPECTED) + ", got "
                            + Arrays.toString(ids));
        } catch (CompletionException e) {
            return Optional.of(Failures.firstLine(e.getCause() == null ? e : e.getCause()));
        } catch (Exception | LinkageError e) {
            return Optional.of(Failures.firstLine(e));
        }
    }
}
