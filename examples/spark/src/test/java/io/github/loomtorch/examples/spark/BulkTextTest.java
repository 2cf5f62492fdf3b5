package io.github.loomtorch.examples.spark;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.ScoreOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TextScore;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(300)
class BulkTextTest {
    private static final String MODEL =
            Path.of("../../models/tales").toAbsolutePath().normalize().toString();
    private static final StructType SCHEMA =
            new StructType().add("id", DataTypes.LongType).add("prompt", DataTypes.StringType);
    private static final BulkOptions OPTIONS = BulkOptions.of(MODEL)
            .withModelOptions(ModelOptions.builder().device("cpu").build())
            .withSampling(SamplingParams.creative().toBuilder().maxNewTokens(8).build())
            .withInFlight(5);

    private static SparkSession spark;

    @TempDir
    private Path folder;

    @BeforeAll
    static void start() {
        spark = SparkSession.builder()
                .master("local[2]")
                .config("spark.ui.enabled", false)
                .config("spark.sql.shuffle.partitions", 2)
                .getOrCreate();
    }

    @AfterAll
    static void stop() throws IOException {
        spark.close();
    }

    private static Dataset<Row> dataset(List<Row> rows, int partitions) {
        return spark.createDataFrame(rows, SCHEMA).repartition(partitions);
    }

    private static List<Row> prompts(int count) {
        return IntStream.range(0, count)
                .mapToObj(i -> RowFactory.create((long) i, "Once upon a time there were " + i + " ships"))
                .toList();
    }

    @Test
    void eachRowGetsTheTextOfItsSeed() throws IOException {
        List<Row> input = prompts(40);
        Dataset<Row> first = BulkText.generate(dataset(input, 4), "prompt", OPTIONS);
        Dataset<Row> again = BulkText.generate(dataset(input, 3), "prompt", OPTIONS); // other batches
        List<Row> rows = first.orderBy("id").collectAsList();
        assertEquals(rows, again.orderBy("id").collectAsList());
        try (TextGenerator generator = TextGenerator.load(Path.of(MODEL))) {
            for (int i = 0; i < rows.size(); i += 13) {
                SamplingParams params = OPTIONS.sampling().toBuilder().seed(i).build();
                Completion completion = generator.generate(input.get(i).getString(1), params);
                Row row = rows.get(i);
                assertEquals(completion.text(), row.getAs("text"));
                assertEquals(8, (int) row.getAs("output_tokens"));
                assertEquals("LENGTH", row.getAs("finish_reason"));
                assertNull(row.getAs("error"));
            }
        }
    }

    @Test
    void rowsKeepTheirOrder() {
        List<Long> ids =
                BulkText.generate(dataset(prompts(30), 1).orderBy("id"), "prompt", OPTIONS).collectAsList().stream()
                        .map(row -> row.getLong(0))
                        .toList();
        assertEquals(IntStream.range(0, 30).mapToObj(i -> (long) i).toList(), ids);
    }

    @Test
    void rowsThatCannotBeServedSayWhy() {
        List<Row> input = new ArrayList<>(prompts(3));
        input.add(RowFactory.create(3L, null));
        input.add(RowFactory.create(4L, ""));
        input.add(RowFactory.create(5L, "word ".repeat(1100)));
        List<Row> rows = BulkText.generate(dataset(input, 2), "prompt", OPTIONS)
                .orderBy("id")
                .collectAsList();
        assertEquals("prompt must not be null", rows.get(3).getAs("error"));
        assertEquals("prompt must not be empty", rows.get(4).getAs("error"));
        String tooLong = rows.get(5).getAs("error");
        assertTrue(tooLong.contains("context"), tooLong);
        for (Row row : rows) {
            assertEquals(row.getAs("error") == null, row.getAs("text") != null);
        }
    }

    @Test
    void scoresAreThoseOfTheLibrary() throws IOException {
        List<Row> rows = BulkText.score(dataset(prompts(12), 3), "prompt", OPTIONS)
                .orderBy("id")
                .collectAsList();
        try (TextGenerator generator = TextGenerator.load(Path.of(MODEL))) {
            for (Row row : rows) {
                TextScore score = generator.score(row.getString(1), ScoreOptions.defaults());
                assertEquals(score.sum(), row.getAs("logprob"), 1e-3);
                assertEquals(score.scoredTokens(), (int) row.getAs("scored_tokens"));
                assertEquals(score.perplexity(), row.getAs("perplexity"), 1e-2);
            }
        }
    }

    @Test
    void columnsThatDoNotFitAreRefusedInOneSentence() {
        Dataset<Row> rows = dataset(prompts(1), 1);
        assertEquals(
                "promptColumn must be one of [id, prompt], got text",
                assertThrows(IllegalArgumentException.class, () -> BulkText.generate(rows, "text", OPTIONS))
                        .getMessage());
        assertEquals(
                "promptColumn id must be of type string, got bigint",
                assertThrows(IllegalArgumentException.class, () -> BulkText.generate(rows, "id", OPTIONS))
                        .getMessage());
        assertEquals(
                "the dataset must have no column named text",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> BulkText.generate(rows.withColumnRenamed("prompt", "text"), "text", OPTIONS))
                        .getMessage());
    }

    @Test
    void aJobReadsLinesAndWritesParquet() throws IOException {
        Path lines = Files.write(folder.resolve("lines.txt"), List.of("The old man", "A king had", "In the wood"));
        Path output = folder.resolve("out");
        int status = new picocli.CommandLine(new BulkJob())
                .setCaseInsensitiveEnumValuesAllowed(true)
                .execute(
                        "generate",
                        "--input=" + lines,
                        "--format=text",
                        "--output=" + output,
                        "--model=" + MODEL,
                        "--max-new-tokens=4",
                        "--max-batch-size=16");
        start(); // the job closed the session
        assertEquals(0, status);
        List<Row> rows = spark.read().parquet(output.toString()).orderBy("id").collectAsList();
        assertEquals(3, rows.size());
        assertTrue(rows.stream().allMatch(row -> row.<Integer>getAs("output_tokens") == 4), rows.toString());
    }
}
