/**
 * The immutable values that cross every boundary of the library: what is asked ({@link GenerationRequest},
 * {@link SamplingParams}), what comes as it is sampled ({@link TokenEvent}), and what comes at the end
 * ({@link Completion}).
 *
 * <p>Nothing here is ever {@code null}. Arrays handed in are copied; arrays handed out are shared and must not be
 * modified. Token ids are positions in the model's vocabulary, {@code [0, V)}. Times are nanoseconds of one monotonic
 * clock.
 */
package io.github.loomtorch.request;
