/**
 * What a caller hands in and gets back: a {@link io.github.loomtorch.request.GenerationRequest} with its
 * {@link io.github.loomtorch.request.SamplingParams} goes to a {@link io.github.loomtorch.request.Scheduler}, which
 * returns a {@link io.github.loomtorch.request.Generation}; that yields a
 * {@link io.github.loomtorch.request.TokenEvent} for each token and a {@link io.github.loomtorch.request.Completion} at
 * the end.
 *
 * <p>Nothing here is ever {@code null}: a value that may be absent is an empty {@code Optional}. Values are immutable,
 * and compare and print by content. Token ids are positions in the model's vocabulary, {@code [0, V)}. Times are
 * nanoseconds of one monotonic clock.
 *
 * <p>One rule for interrupts: whoever is interrupted while waiting here, in {@code join}, in {@code tokens()} or for
 * room in a queue, gets a {@link java.util.concurrent.CancellationException} and keeps the interrupt flag. What was
 * waited for is not affected, but for a request that was not yet taken.
 */
@NullMarked
package io.github.loomtorch.request;

import org.jspecify.annotations.NullMarked;
