package io.github.loomtorch.examples.spark;

import static org.apache.spark.sql.types.DataTypes.DoubleType;
import static org.apache.spark.sql.types.DataTypes.IntegerType;
import static org.apache.spark.sql.types.DataTypes.LongType;
import static org.apache.spark.sql.types.DataTypes.StringType;

import io.github.loomtorch.Scoring;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TextScore;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.apache.spark.api.java.function.MapPartitionsFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.util.LongAccumulator;

/**
 * Texts and scores for each row of a dataset. Rows keep their order and their columns. A row that cannot be served has
 * the reason in the column {@code error}, and null in the others that are added; a task fails only if its executor's
 * model does. The web UI shows the accumulators {@code loomtorch rows}, {@code loomtorch tokens} and {@code loomtorch
 * errors} of each stage; a task that is repeated counts again.
 *
 * <p>One model is loaded in each executor and runs the rows of all its tasks together.
 */
public final class BulkText {
    private BulkText() {}

    /**
     * Continues the prompt of each row: adds {@code text} (string), {@code output_tokens} (int), {@code finish_reason}
     * (string) and {@code error} (string).
     *
     * @param rows with the prompts
     * @param promptColumn of strings
     * @param options of them {@code scoring} is not used
     * @return the rows with four more columns
     * @throws IllegalArgumentException if a column is missing, of another type, or named like a new one
     */
    public static Dataset<Row> generate(Dataset<Row> rows, String promptColumn, BulkOptions options) {
        int prompt = column(rows, promptColumn, "promptColumn", Set.of(StringType));
        int seed = column(rows, options.seedColumn(), "seedColumn", Set.of(LongType, IntegerType));
        List<StructField> added = List.of(
                field("text", StringType),
                field("output_tokens", IntegerType),
                field("finish_reason", StringType),
                field("error", StringType));
        BulkTask.Work work = (generator, row) -> {
            SamplingParams params = options.sampling().toBuilder()
                    .seed(((Number) row.get(seed)).longValue())
                    .build();
            Generation generation = generator.submit(row.getString(prompt), params);
            return new BulkTask.InFlight(generation::cancel, () -> values(generation.join()));
        };
        return map(rows, added, Set.of(prompt, seed), options, work);
    }

    private static BulkTask.Result values(Completion completion) {
        int tokens = completion.outputTokenIds().length;
        return new BulkTask.Result(
                tokens,
                completion.finishReason(),
                completion.text(),
                tokens,
                completion.finishReason().name());
    }

    /**
     * Scores the text of each row: adds {@code logprob} (double, natural, the sum over the scored tokens),
     * {@code scored_tokens} (int), {@code perplexity} (double), {@code bits_per_byte} (double) and {@code error}
     * (string).
     *
     * @param rows with the texts
     * @param textColumn of strings
     * @param options of them {@code sampling} and {@code seedColumn} are not used
     * @return the rows with five more columns
     * @throws IllegalArgumentException if the column is missing, of another type, or one is named like a new one
     */
    public static Dataset<Row> score(Dataset<Row> rows, String textColumn, BulkOptions options) {
        int text = column(rows, textColumn, "textColumn", Set.of(StringType));
        List<StructField> added = List.of(
                field("logprob", DoubleType),
                field("scored_tokens", IntegerType),
                field("perplexity", DoubleType),
                field("bits_per_byte", DoubleType),
                field("error", StringType));
        BulkTask.Work work = (generator, row) -> {
            Scoring scoring = generator.submitScore(row.getString(text), options.scoring());
            return new BulkTask.InFlight(scoring::cancel, () -> values(scoring.join()));
        };
        return map(rows, added, Set.of(text), options, work);
    }

    private static BulkTask.Result values(TextScore score) {
        return new BulkTask.Result(
                score.tokens().size(),
                score.finishReason(),
                score.sum(),
                score.scoredTokens(),
                score.perplexity(),
                score.bitsPerByte());
    }

    private static StructField field(String name, DataType type) {
        return DataTypes.createStructField(name, type, true);
    }

    private static int column(Dataset<Row> rows, String name, String what, Set<DataType> types) {
        List<String> names = Arrays.asList(rows.columns());
        int index = names.indexOf(name);
        if (index < 0) {
            throw new IllegalArgumentException(what + " must be one of " + names + ", got " + name);
        }
        DataType type = rows.schema().fields()[index].dataType();
        if (!types.contains(type)) {
            List<String> wanted =
                    types.stream().map(DataType::simpleString).sorted().toList();
            throw new IllegalArgumentException(what + " " + name + " must be of type " + String.join(" or ", wanted)
                    + ", got " + type.simpleString());
        }
        return index;
    }

    /** {@code needed}: columns that must not be null in a row. */
    private static Dataset<Row> map(
            Dataset<Row> rows, List<StructField> added, Set<Integer> needed, BulkOptions options, BulkTask.Work work) {
        StructType schema = rows.schema();
        for (StructField field : added) {
            if (Arrays.asList(schema.fieldNames()).contains(field.name())) {
                throw new IllegalArgumentException("the dataset must have no column named " + field.name());
            }
        }
        StructField[] fields =
                Stream.concat(Arrays.stream(schema.fields()), added.stream()).toArray(StructField[]::new);
        var context = rows.sparkSession().sparkContext();
        LongAccumulator done = context.longAccumulator("loomtorch rows");
        LongAccumulator tokens = context.longAccumulator("loomtorch tokens");
        LongAccumulator errors = context.longAccumulator("loomtorch errors");
        int columns = added.size();
        int[] notNull = needed.stream().mapToInt(Integer::intValue).sorted().toArray();
        MapPartitionsFunction<Row, Row> partition = (Iterator<Row> of) ->
                new BulkTask(of, options, work, columns, notNull, new BulkTask.Counters(done, tokens, errors));
        return rows.mapPartitions(partition, Encoders.row(new StructType(fields)));
    }
}
