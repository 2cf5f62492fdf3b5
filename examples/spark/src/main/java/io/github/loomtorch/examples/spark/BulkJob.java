package io.github.loomtorch.examples.spark;

import static org.apache.spark.sql.functions.monotonically_increasing_id;

import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.SamplingParams;
import java.io.IOException;
import java.util.Arrays;
import java.util.concurrent.Callable;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.functions;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Reads rows from files, generates or scores texts, and writes Parquet: for {@code spark-submit}. */
@Command(
        name = "BulkJob",
        mixinStandardHelpOptions = true,
        description = "Generates or scores texts of millions of rows.")
public final class BulkJob implements Callable<Integer> {
    /** What is done with each row. */
    enum Mode {
        GENERATE,
        SCORE
    }

    /** How the input is stored; lines of text are in the column {@code value}. */
    enum Format {
        PARQUET,
        JSON,
        TEXT
    }

    @Parameters(index = "0", description = "generate or score.")
    private Mode mode;

    @Option(names = "--input", required = true, description = "Files or a folder.")
    private String input;

    @Option(names = "--format", description = "parquet, json (an object a line) or text (default: parquet).")
    private Format format = Format.PARQUET;

    @Option(names = "--column", description = "Of the prompts or texts (default: value).")
    private String column = "value";

    @Option(
            names = "--seed-column",
            description = "Of whole numbers, the seeds (default: id; if the input has none, rows are numbered).")
    private String seedColumn = "id";

    @Option(names = "--output", required = true, description = "Folder to write; one that exists is replaced.")
    private String output;

    @Option(names = "--model", required = true, description = "A folder that executors can read, or a name on the hub.")
    private String model;

    @Option(names = "--max-new-tokens", description = "Default: ${DEFAULT-VALUE}.")
    private int maxNewTokens = 64;

    @Option(names = "--temperature", description = "Default: ${DEFAULT-VALUE}.")
    private float temperature = 0.8f;

    @Option(
            names = "--max-batch-size",
            description = "Sequences in a batch of an executor (default: ${DEFAULT-VALUE}).")
    private int maxBatchSize = 64;

    @Option(
            names = "--in-flight",
            description = "Rows of a task that the model has at once (default: ${DEFAULT-VALUE}).")
    private int inFlight = 64;

    @Option(
            names = "--not-deterministic",
            description = "Faster on GPUs; a row that is computed again may then get another text.")
    private boolean notDeterministic;

    /** For {@code spark-submit}. */
    public static void main(String[] args) {
        CommandLine job = new CommandLine(new BulkJob()).setCaseInsensitiveEnumValuesAllowed(true);
        int status = job.execute(args);
        if (status != 0) {
            System.exit(status);
        }
    }

    @Override
    public Integer call() throws IOException {
        try (SparkSession spark =
                SparkSession.builder().appName("loomtorch " + mode).getOrCreate()) {
            Dataset<Row> rows = spark.read().format(format.name().toLowerCase()).load(input);
            if (seedColumn.equals("id") && !Arrays.asList(rows.columns()).contains("id")) {
                rows = rows.withColumn("id", monotonically_increasing_id());
            }
            BulkOptions options = BulkOptions.of(model)
                    .withModelOptions(ModelOptions.builder()
                            .maxBatchSize(maxBatchSize)
                            .deterministic(!notDeterministic)
                            .build())
                    .withSampling(SamplingParams.creative().toBuilder()
                            .maxNewTokens(maxNewTokens)
                            .temperature(temperature)
                            .build())
                    .withSeedColumn(seedColumn)
                    .withInFlight(inFlight);
            long start = System.nanoTime();
            Dataset<Row> done = mode == Mode.GENERATE
                    ? BulkText.generate(rows, column, options)
                    : BulkText.score(rows, column, options);
            done.write().mode("overwrite").parquet(output);
            double seconds = (System.nanoTime() - start) / 1e9;
            Dataset<Row> written = spark.read().parquet(output);
            String counted = mode == Mode.GENERATE ? "output_tokens" : "scored_tokens";
            Row sums = written.agg(functions.count("*"), functions.sum(counted), functions.count("error"))
                    .first();
            long tokens = sums.isNullAt(1) ? 0 : sums.getLong(1);
            System.out.printf(
                    "%d rows, %d with an error, %d tokens in %.1f s: %.0f tokens/s%n",
                    sums.getLong(0), sums.getLong(2), tokens, seconds, tokens / seconds);
        }
        return 0;
    }
}
