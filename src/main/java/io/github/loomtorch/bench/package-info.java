/**
 * Measures speed through the public API or over HTTP, as a client sees it. The definitions are those of vLLM's
 * benchmarks, but that latencies count from the intended arrival of a request, not from when it was sent:
 *
 * <ul>
 *   <li>TTFT, time to first token: from the request's arrival to its first token, queueing included
 *   <li>ITL, inter-token latency: each gap between two tokens of a request
 *   <li>E2EL, end-to-end latency: from arrival to the last token
 *   <li>TPOT, time per output token: (E2EL - TTFT) / (n - 1) of a request with n tokens
 *   <li>request throughput, output token throughput: completed requests and their tokens per second of the whole
 *       measurement
 *   <li>goodput: requests per second that keep every stated limit
 *   <li>queue wait: from arrival to admission to a batch
 *   <li>batch occupancy: sequences in a step over those that fit, weighted by the duration of the steps
 * </ul>
 */
@NullMarked
package io.github.loomtorch.bench;

import org.jspecify.annotations.NullMarked;
