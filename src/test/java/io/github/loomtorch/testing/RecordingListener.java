package io.github.loomtorch.testing;

import io.github.loomtorch.engine.SequenceListener;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenListener;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/** Remembers what it was told, and on which threads. Thread-safe. */
public final class RecordingListener implements SequenceListener, TokenListener {
    private final List<TokenEvent> events = new ArrayList<>();
    private final List<Integer> promptTokens = new ArrayList<>();
    private final List<Completion> completions = new ArrayList<>();
    private final List<RuntimeException> failures = new ArrayList<>();
    private final List<Thread> threads = new ArrayList<>();

    @Override
    public synchronized void onPromptComputed(int tokens) {
        promptTokens.add(tokens);
    }

    /** What it was told of the prompt. */
    public synchronized List<Integer> promptTokens() {
        return List.copyOf(promptTokens);
    }

    @Override
    public synchronized void onToken(TokenEvent event) {
        events.add(event);
        threads.add(Thread.currentThread());
    }

    @Override
    public synchronized void onFinished(Completion completion) {
        completions.add(completion);
    }

    @Override
    public synchronized void onFailed(RuntimeException cause) {
        failures.add(cause);
    }

    public synchronized List<TokenEvent> events() {
        return List.copyOf(events);
    }

    public synchronized int[] tokenIds() {
        return events.stream().mapToInt(TokenEvent::tokenId).toArray();
    }

    public synchronized String text() {
        return events.stream().map(TokenEvent::text).collect(Collectors.joining());
    }

    public synchronized List<Thread> threads() {
        return List.copyOf(threads);
    }

    public synchronized int ends() {
        return completions.size() + failures.size();
    }

    /** The only completion. */
    public synchronized Completion completion() {
        if (completions.size() != 1 || !failures.isEmpty()) {
            throw new AssertionError("expected one completion, got " + completions + " and " + failures);
        }
        return completions.getFirst();
    }

    /** The only failure. */
    public synchronized RuntimeException failure() {
        if (failures.size() != 1 || !completions.isEmpty()) {
            throw new AssertionError("expected one failure, got " + failures + " and " + completions);
        }
        return failures.getFirst();
    }
}
