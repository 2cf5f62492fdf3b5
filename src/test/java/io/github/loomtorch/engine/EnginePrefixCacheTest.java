package io.github.loomtorch.engine;

import static io.github.loomtorch.testing.Requests.prompt;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;

import io.github.loomtorch.engine.Engine.Admission;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Pages that sequences with a common prefix share. */
class EnginePrefixCacheTest extends EngineFixture {
    @Test
    void sharesTheBeginningThatBothPromptsHave() {
        admitted(request(10, 3));
        runToEnd();
        long computed = lm.computedTokens();
        int[] longer = Arrays.copyOf(prompt(10), 12);
        Run second = admitted(new GenerationRequest(longer, SamplingParams.greedy(2)));
        runToEnd();
        assertEquals(12 - 8 + 1, lm.computedTokens() - computed); // pages of 4
        second.assertComplete();
    }

    @Test
    void tellsWhatThePrefixCacheSaved() {
        admitted(request(10, 3));
        runToEnd();
        stats.clear();
        admitted(request(10, 3));
        admitted(request(9, 3)); // begins otherwise
        runToEnd();
        admitted(request(12, 2));
        runToEnd();
        assertEquals(
                List.of(8, 0, 0, 0, 0),
                stats.stream().map(StepStats::reusedTokens).toList()); // pages of 4
        assertEquals(
                List.of(2 + 9, 2, 2, 12, 1),
                stats.stream().map(StepStats::computedTokens).toList());
    }

    @Test
    void sequencesThatPartAfterACommonBeginningDoNotDisturbEachOther() {
        Run first = admitted(request(10, 12));
        step();
        int[] other = prompt(10);
        other[9]++; // within the third page
        Run second = admitted(new GenerationRequest(other, request(10, 12).sampling()));
        step();
        assertEquals(first.sequence.page(0), second.sequence.page(0));
        assertEquals(first.sequence.page(1), second.sequence.page(1));
        assertNotEquals(first.sequence.page(2), second.sequence.page(2));
        runToEnd();
        first.assertComplete();
        second.assertComplete();
        long computed = lm.computedTokens();
        Run again = admitted(request(10, 12)); // what the first left is as it was
        runToEnd();
        again.assertComplete();
        assertEquals(10 - 8 + 11, lm.computedTokens() - computed);
    }

    @Test
    void computesTheLastPromptTokenEvenIfAllIsCached() {
        admitted(request(8, 5));
        runToEnd();
        long computed = lm.computedTokens();
        Run second = admitted(request(8, 5));
        engineStep();
        assertEquals(4, lm.computedTokens() - computed);
        runToEnd();
        second.assertComplete();
    }

    @Test
    void sharesNothingWithPrefixCachingOff() {
        config.prefixCaching(false);
        engine = engine();
        Run first = admitted(request(10, 3));
        Run second = admitted(request(10, 3));
        runToEnd();
        assertEquals(2 * (10 + 2), lm.computedTokens());
        first.assertComplete();
        second.assertComplete();
    }

    @Test
    void completionsOfOnePromptEachComputeItOnDeterministicModel() {
        engine = engine(deterministic(lm));
        admitted(request(10, 3));
        step();
        admitted(request(10, 3));
        runToEnd();
        assertEquals(2 * (10 + 2), lm.computedTokens());
    }

    @Test
    void defersSequenceWhoseBeginningIsBeingComputed() {
        config.maxPrefillTokensPerStep(4);
        engine = engine();
        Run first = admitted(request(10, 5));
        Run second = sequence(request(10, 5));
        assertEquals(Admission.DEFERRED, tryAdmit(second));
        step();
        assertEquals(Admission.DEFERRED, tryAdmit(second));
        step();
        assertEquals(Admission.ADMITTED, tryAdmit(second));
        runToEnd();
        assertEquals(10 + 4 + 2 + 4, lm.computedTokens());
        first.assertComplete();
        second.assertComplete();
    }
}
