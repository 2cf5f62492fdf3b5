package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.Requests;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Flow;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;
import org.reactivestreams.tck.PublisherVerification;
import org.reactivestreams.tck.TestEnvironment;
import org.reactivestreams.tck.flow.FlowPublisherVerification;
import org.testng.annotations.Test;

/** The Technology Compatibility Kit of Reactive Streams, run on the tokens of generations. */
@Timeout(60)
class PublisherRulesTest {
    private static final long SIGNAL_MILLIS = 2_000; // within which a signal must come
    private static final long NO_SIGNAL_MILLIS = 20; // during which none may come
    private static final long POLL_MILLIS = 10; // between two looks for a signal
    private static final String NEEDS_TWO_BILLION_TOKENS =
            "required_spec317_mustNotSignalOnErrorWhenPendingAboveLongMaxValue";

    /** What a publisher must keep and what it may. The kit itself does not check the rules called "untested". */
    @TestFactory
    Stream<DynamicTest> rules() {
        return Arrays.stream(PublisherVerification.class.getMethods())
                .filter(method -> method.isAnnotationPresent(Test.class))
                .filter(method -> !method.getName().startsWith("untested_"))
                .filter(method -> !method.getName().equals(NEEDS_TWO_BILLION_TOKENS))
                .map(method -> DynamicTest.dynamicTest(method.getName(), () -> check(method)));
    }

    private static void check(Method rule) throws Throwable {
        try (Tokens tokens = new Tokens()) {
            tokens.setUp();
            rule.invoke(tokens);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    private static final class Tokens extends FlowPublisherVerification<TokenEvent> implements AutoCloseable {
        private final ContinuousScheduler scheduler;
        private volatile boolean failing;

        Tokens() throws IOException {
            super(new TestEnvironment(SIGNAL_MILLIS, NO_SIGNAL_MILLIS, POLL_MILLIS));
            scheduler = new ContinuousScheduler(() -> {
                FakeCausalLm lm = FakeCausalLm.ofBatch(4).onAwait(chunks -> {
                    if (failing) {
                        throw new IllegalStateException("device failed");
                    }
                });
                return new Engine(lm, new FakeTokenizer(), EngineOptions.defaults());
            });
        }

        @Override
        public Flow.Publisher<TokenEvent> createFlowPublisher(long tokens) {
            return scheduler.submit(request((int) tokens)).publisher();
        }

        private static GenerationRequest request(int tokens) {
            if (tokens > 0) {
                return Requests.request(3, tokens);
            }
            return new GenerationRequest(
                    Requests.prompt(3),
                    SamplingParams.builder()
                            .maxNewTokens(0)
                            .promptScoring(PromptScoring.from(1))
                            .build());
        }

        @Override
        public Flow.Publisher<TokenEvent> createFailedFlowPublisher() {
            failing = true;
            var generation = scheduler.submit(request(3));
            try {
                generation.join();
            } catch (CompletionException e) {
                return generation.publisher();
            }
            throw new AssertionError("the generation should have failed");
        }

        @Override
        public long maxElementsFromPublisher() {
            return 61; // the context has 64 tokens
        }

        @Override
        public void close() {
            scheduler.closeNow();
        }
    }
}
