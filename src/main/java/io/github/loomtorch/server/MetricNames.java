package io.github.loomtorch.server;

import java.util.Map;

/** Under which names a server publishes its metrics. Immutable. */
public enum MetricNames {
    /** Our own: {@code loomtorch_} and what is measured. */
    LOOMTORCH,
    /** vLLM's where it has the same metric, for dashboards, routers and autoscalers that know these; else our own. */
    VLLM;

    private static final Map<String, String> VLLM_NAMES = Map.ofEntries(
            Map.entry("requests_waiting", "num_requests_waiting"),
            Map.entry("requests_running", "num_requests_running"),
            Map.entry("kv_cache_usage_ratio", "kv_cache_usage_perc"),
            Map.entry("time_to_first_token", "time_to_first_token"),
            Map.entry("time_per_output_token", "request_time_per_output_token"),
            Map.entry("inter_token_latency", "inter_token_latency"),
            Map.entry("request_duration", "e2e_request_latency"),
            Map.entry("request_queue_time", "request_queue_time"),
            Map.entry("request_prefill_time", "request_prefill_time"),
            Map.entry("request_decode_time", "request_decode_time"),
            Map.entry("request_prompt_tokens", "request_prompt_tokens"),
            Map.entry("request_output_tokens", "request_generation_tokens"),
            Map.entry("prompt_tokens", "prompt_tokens"),
            Map.entry("output_tokens", "generation_tokens"),
            Map.entry("prefix_cache_queries", "prefix_cache_queries"),
            Map.entry("prefix_cache_hits", "prefix_cache_hits"),
            Map.entry("preemptions", "num_preemptions"),
            Map.entry("requests_finished", "request_success"),
            Map.entry("requests_rejected", "admission_rejections"),
            Map.entry("clients_disconnected", "http_requests_client_disconnected"));

    /** The name of a metric, without the suffixes that Prometheus adds for units and counters. */
    String of(String metric) {
        String vllm = this == VLLM ? VLLM_NAMES.get(metric) : null;
        return vllm == null ? "loomtorch_" + metric : "vllm:" + vllm;
    }
}
