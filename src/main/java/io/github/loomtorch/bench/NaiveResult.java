package io.github.loomtorch.bench;

import java.util.List;
import java.util.regex.Pattern;

/**
 * One request of a {@link NaiveBenchmark}. Immutable.
 *
 * @param runNum number of the run, from 1
 * @param seq number of the prompt, from 1
 * @param batchNum number of its batch in the run, from 1; 0 if it failed
 * @param inputTokens of the prompt
 * @param outputTokens new ones; 0 if it failed
 * @param latencySeconds from submit to completion; 0 if it failed
 * @param ttftSeconds from submit to the first token; 0 if it failed
 * @param prompt text
 * @param output text, with each run of white space as one space; empty if it failed
 * @param error why it failed; empty if it did not
 */
public record NaiveResult(
        int runNum,
        int seq,
        int batchNum,
        int inputTokens,
        int outputTokens,
        double latencySeconds,
        double ttftSeconds,
        String prompt,
        String output,
        String error) {

    /** Names of {@link #columns()}, in order. */
    static final List<String> COLUMN_NAMES = List.of(
            "run_num",
            "seq",
            "status",
            "batch_num",
            "input_tokens",
            "output_tokens",
            "total_tokens",
            "latency",
            "ttft",
            "tokens_per_sec",
            "prompt",
            "output_prompt",
            "error");

    private static final Pattern WHITE_SPACE = Pattern.compile("\\s+", Pattern.UNICODE_CHARACTER_CLASS);

    /** Normalises the white space of the output and of the error, so that each is one line. */
    public NaiveResult {
        output = oneLine(output);
        error = oneLine(error);
    }

    private static String oneLine(String text) {
        return WHITE_SPACE.matcher(text).replaceAll(" ").strip();
    }

    /**
     * A request that failed.
     *
     * @param runNum number of the run, from 1
     * @param seq number of the prompt, from 1
     * @param inputTokens of the prompt
     * @param prompt text
     * @param error why, at least one character
     * @return its result
     */
    public static NaiveResult failed(int runNum, int seq, int inputTokens, String prompt, String error) {
        return new NaiveResult(runNum, seq, 0, inputTokens, 0, 0, 0, prompt, "", error);
    }

    /**
     * Whether the request finished.
     *
     * @return false if it failed
     */
    public boolean isSuccess() {
        return error.isEmpty();
    }

    /**
     * How it ended.
     *
     * @return {@code ok} or {@code error}
     */
    public String status() {
        return isSuccess() ? "ok" : "error";
    }

    /**
     * Output tokens per second of latency.
     *
     * @return 0 if it failed
     */
    public double tokensPerSecond() {
        return isSuccess() ? outputTokens / latencySeconds : 0;
    }

    /** Values of a line of CSV, times in seconds. */
    List<Object> columns() {
        return List.of(
                runNum,
                seq,
                status(),
                batchNum,
                inputTokens,
                outputTokens,
                inputTokens + outputTokens,
                latencySeconds,
                ttftSeconds,
                tokensPerSecond(),
                prompt,
                output,
                error);
    }
}
