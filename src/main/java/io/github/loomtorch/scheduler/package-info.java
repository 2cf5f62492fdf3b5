/**
 * Who runs next, and who waits. All schedulers drive one {@link io.github.loomtorch.engine.Engine}; they differ in
 * their admission rule and in the thread that steps it:
 *
 * <ul>
 *   <li>{@link NaiveScheduler}: full batches on the caller's thread.
 *   <li>{@link AsyncNaiveScheduler}: a batch when it is full or its first request has waited long enough, on the
 *       engine's own thread.
 *   <li>{@link ContinuousScheduler}: a request joins the batch as soon as there is room, between two steps.
 *   <li>{@link ReplicaPool}: several continuous schedulers, one for each device.
 * </ul>
 *
 * <p>A submitted request is one {@code SubmittedGeneration} for its caller and one {@code QueuedRequest} for the
 * scheduler. It goes from the {@code SubmissionQueue} to the {@code WaitingQueue} to the {@code RunningRequests}; its
 * tokens come back in a {@code TokenLog}. In the asynchronous schedulers user code (listeners, subscribers, dependents
 * of futures) runs on virtual threads, never on the engine's thread.
 *
 * <p>Nothing here is ever {@code null}. Everything public is thread-safe.
 */
@NullMarked
package io.github.loomtorch.scheduler;

import org.jspecify.annotations.NullMarked;
