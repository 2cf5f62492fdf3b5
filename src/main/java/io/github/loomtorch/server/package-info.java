/**
 * OpenAI's completions over HTTP, on Jetty, for one model: {@link io.github.loomtorch.server.HttpServer} listens,
 * {@code Routes} maps paths to endpoints, {@code CompletionRequest} reads a body, and {@code CompletionCall} runs it
 * and writes the answer or the stream of events. {@link io.github.loomtorch.server.ServerMetrics} is what {@code GET
 * /metrics} shows. Needs the optional dependencies {@code jetty-server}, {@code jetty-http2-server} and
 * {@code micrometer-registry-prometheus}.
 *
 * <p>Each HTTP request has a virtual thread, which waits for tokens, for the reader of its stream, and looks every 100
 * ms whether the client is still there.
 *
 * <p>Nothing here is ever {@code null}.
 */
@NullMarked
package io.github.loomtorch.server;

import org.jspecify.annotations.NullMarked;
