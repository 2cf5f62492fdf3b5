package io.github.loomtorch.bench;

import java.io.IOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.apache.commons.csv.CSVFormat;

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
 * @param output text; empty if it failed
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

    private static final CSVFormat CSV =
            CSVFormat.RFC4180.builder().setRecordSeparator("\n").get();

    /**
     * A request that failed.
     *
     * @param runNum number of the run, from 1
     * @param seq number of the prompt, from 1
     * @param inputTokens of the prompt
     * @param prompt text
     * @param error why
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
     * Output tokens per second of latency.
     *
     * @return 0 if it failed
     */
    public double tokensPerSecond() {
        return isSuccess() ? outputTokens / latencySeconds : 0;
    }

    /**
     * Writes a file of comma-separated values, times in seconds.
     *
     * @param results a line each
     * @param file written anew
     * @throws IOException if it cannot be written
     */
    public static void writeCsv(List<NaiveResult> results, Path file) throws IOException {
        try (Writer csv = Files.newBufferedWriter(file, StandardCharsets.UTF_8)) {
            CSV.printRecord(
                    csv,
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
            for (NaiveResult result : results) {
                CSV.printRecord(
                        csv,
                        result.runNum,
                        result.seq,
                        result.isSuccess() ? "success" : "error",
                        result.batchNum,
                        result.inputTokens,
                        result.outputTokens,
                        result.inputTokens + result.outputTokens,
                        result.latencySeconds,
                        result.ttftSeconds,
                        result.tokensPerSecond(),
                        result.prompt,
                        result.output,
                        result.error);
            }
        }
    }
}
