/**
 * Measures speed through the public API, as a client sees it. The definitions are those of vLLM's benchmarks:
 *
 * <ul>
 *   <li>TTFT, time to first token: from the request's arrival to its first token, queueing included
 *   <li>ITL, inter-token latency: each gap between two tokens of a request
 *   <li>E2EL, end-to-end latency: from arrival to the last token
 *   <li>TPOT, time per output token: (E2EL - TTFT) / (n - 1) of a request with n tokens
 *   <li>request throughput, output token throughput: finished requests and their tokens per second of the whole
 *       measurement
 *   <li>goodput: requests per second that keep every stated limit
 * </ul>
 */
@NullMarked
package io.github.loomtorch.bench;

import org.jspecify.annotations.NullMarked;
