/**
 * One step of generation: admit, forward, sample, publish. The engine keeps the running sequences and the pages of the
 * KV cache, and knows the model only as a {@link CausalLm}. Who waits, and whose thread calls {@code step()}, is the
 * schedulers' business.
 *
 * <p>Everything here is confined to the engine thread unless it says otherwise. Nothing is ever {@code null}.
 */
package io.github.loomtorch.engine;
