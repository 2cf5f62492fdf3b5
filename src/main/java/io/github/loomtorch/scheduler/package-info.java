/**
 * Who runs next, and who waits. All schedulers drive one {@link io.github.loomtorch.engine.Engine} and differ in their
 * admission rule and in whose thread steps it:
 *
 * <ul>
 *   <li>{@link NaiveScheduler}: full batches on the caller's thread.
 *   <li>{@link AsyncNaiveScheduler}: a batch when it is full or its first request has waited long enough, on the
 *       engine's own thread.
 *   <li>{@link ContinuousScheduler}: a request joins the batch as soon as there is room, between two steps.
 *   <li>{@link ReplicaPool}: several of those, one for each device.
 * </ul>
 *
 * <p>A {@link Generation} is one request in flight. In the asynchronous schedulers user code (listeners, subscribers,
 * what depends on a future) runs on virtual threads, never on the engine's thread.
 *
 * <p>Nothing here is ever {@code null}. Everything public is thread-safe.
 */
package io.github.loomtorch.scheduler;
