package io.github.loomtorch.examples.spark;

import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.ScoreOptions;
import io.github.loomtorch.request.SamplingParams;
import java.io.Serializable;

/**
 * What every executor does with its rows. Immutable, serializable.
 *
 * @param model a folder that every executor can read, or a name on the Hugging Face hub
 * @param modelOptions how the model runs. Where Spark gives an executor a GPU ({@code spark.executor.resource.gpu}),
 *     the device {@code auto} is that one
 * @param sampling how texts are generated; its seed is replaced by each row's
 * @param scoring how texts are scored
 * @param seedColumn a column of whole numbers: the seed of each row's text. The same row gets the same text again when
 *     Spark repeats a task
 * @param inFlight how many rows a task hands to the model before it waits for the first, &gt;= 1: bounds its memory.
 *     Tasks of an executor together should have twice {@code maxBatchSize} in flight
 */
public record BulkOptions(
        String model,
        ModelOptions modelOptions,
        SamplingParams sampling,
        ScoreOptions scoring,
        String seedColumn,
        int inFlight)
        implements Serializable {

    /** Validates. */
    public BulkOptions {
        if (inFlight < 1) {
            throw new IllegalArgumentException("inFlight must be >= 1, got " + inFlight);
        }
    }

    /**
     * Usual options.
     *
     * @param model see {@link #model()}
     * @return deterministic, 16 sequences in a batch; creative sampling; log-probabilities alone; seeds from the column
     *     {@code id}; 32 rows in flight
     */
    public static BulkOptions of(String model) {
        return new BulkOptions(
                model,
                ModelOptions.builder().deterministic(true).build(),
                SamplingParams.creative(),
                ScoreOptions.defaults(),
                "id",
                32);
    }

    /** {@return these options with another way to run the model} */
    public BulkOptions withModelOptions(ModelOptions options) {
        return new BulkOptions(model, options, sampling, scoring, seedColumn, inFlight);
    }

    /** {@return these options with another way to generate} */
    public BulkOptions withSampling(SamplingParams params) {
        return new BulkOptions(model, modelOptions, params, scoring, seedColumn, inFlight);
    }

    /** {@return these options with seeds from another column} */
    public BulkOptions withSeedColumn(String column) {
        return new BulkOptions(model, modelOptions, sampling, scoring, column, inFlight);
    }

    /** {@return these options with another number of rows in flight} */
    public BulkOptions withInFlight(int rows) {
        return new BulkOptions(model, modelOptions, sampling, scoring, seedColumn, rows);
    }
}
