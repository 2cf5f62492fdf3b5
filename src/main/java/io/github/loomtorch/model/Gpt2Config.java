package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * The hyperparameters of a GPT-2 that its results depend on. Immutable.
 *
 * @param vocabSize V, the number of token ids, &gt;= 1 ({@code vocab_size})
 * @param contextLength most tokens of one sequence, &gt;= 1 ({@code n_positions})
 * @param hiddenSize C, &gt;= 1, a multiple of {@code headCount} ({@code n_embd})
 * @param layerCount L, &gt;= 1 ({@code n_layer})
 * @param headCount H, &gt;= 1 ({@code n_head})
 * @param innerSize F, &gt;= 1, mostly {@code 4 * C} ({@code n_inner})
 * @param activation of the feed-forward block ({@code activation_function})
 * @param layerNormEpsilon added to the variance, &gt; 0 ({@code layer_norm_epsilon})
 * @param scaleAttnWeights whether attention scores are divided by {@code sqrt(D)} ({@code scale_attn_weights})
 * @param scaleAttnByInverseLayerIdx whether the scores of layer {@code l}, counted from 0, are divided by {@code l + 1}
 *     too ({@code scale_attn_by_inverse_layer_idx})
 * @param tieWordEmbeddings whether the head's weight is the token embedding itself ({@code tie_word_embeddings})
 * @param endOfTextIds the tokens that end a text: distinct, ascending, in {@code [0, V)}; empty if there is none
 *     ({@code eos_token_id})
 */
public record Gpt2Config(
        int vocabSize,
        int contextLength,
        int hiddenSize,
        int layerCount,
        int headCount,
        int innerSize,
        Activation activation,
        double layerNormEpsilon,
        boolean scaleAttnWeights,
        boolean scaleAttnByInverseLayerIdx,
        boolean tieWordEmbeddings,
        List<Integer> endOfTextIds) {

    /** Other numbers of columns make matrix products on a GPU slow. */
    private static final int VOCAB_MULTIPLE = 64;

    private static final int GPT2_VOCAB_SIZE = 50257;
    private static final int GPT2_CONTEXT_LENGTH = 1024;
    private static final int GPT2_END_OF_TEXT_ID = 50256;

    /**
     * Validates.
     *
     * @throws IllegalArgumentException naming the first value that is out of its range
     */
    public Gpt2Config {
        requirePositive("vocabSize (vocab_size)", vocabSize);
        requirePositive("contextLength (n_positions)", contextLength);
        requirePositive("hiddenSize (n_embd)", hiddenSize);
        requirePositive("layerCount (n_layer)", layerCount);
        requirePositive("headCount (n_head)", headCount);
        requirePositive("innerSize (n_inner)", innerSize);
        if (hiddenSize % headCount != 0) {
            throw new IllegalArgumentException("hiddenSize (n_embd) must be a multiple of headCount (n_head), got "
                    + hiddenSize + " and " + headCount);
        }
        if (!(layerNormEpsilon > 0 && layerNormEpsilon < Double.POSITIVE_INFINITY)) {
            throw new IllegalArgumentException(
                    "layerNormEpsilon (layer_norm_epsilon) must be > 0 and finite, got " + layerNormEpsilon);
        }
        endOfTextIds = List.copyOf(endOfTextIds);
        int previous = -1;
        for (int id : endOfTextIds) {
            if (id <= previous || id >= vocabSize) {
                throw new IllegalArgumentException("endOfTextIds (eos_token_id) must be ascending ids in [0, "
                        + vocabSize + "), got " + endOfTextIds);
            }
            previous = id;
        }
    }

    private static void requirePositive(String name, int value) {
        if (value < 1) {
            throw new IllegalArgumentException(name + " must be >= 1, got " + value);
        }
    }

    /**
     * The shape of a published model, without its weights.
     *
     * @param name {@code gpt2} (124M), {@code gpt2-medium} (355M), {@code gpt2-large} (774M), {@code gpt2-xl} (1.5B) or
     *     {@code distilgpt2} (82M)
     * @return its configuration
     * @throws IllegalArgumentException if the name is another one
     */
    public static Gpt2Config shape(String name) {
        return switch (name) {
            case "gpt2" -> shape(768, 12, 12);
            case "gpt2-medium" -> shape(1024, 24, 16);
            case "gpt2-large" -> shape(1280, 36, 20);
            case "gpt2-xl" -> shape(1600, 48, 25);
            case "distilgpt2" -> shape(768, 6, 12);
            default ->
                throw new IllegalArgumentException(
                        "name must be gpt2, gpt2-medium, gpt2-large, gpt2-xl or distilgpt2, got \"" + name + "\"");
        };
    }

    private static Gpt2Config shape(int hiddenSize, int layerCount, int headCount) {
        return new Gpt2Config(
                GPT2_VOCAB_SIZE,
                GPT2_CONTEXT_LENGTH,
                hiddenSize,
                layerCount,
                headCount,
                4 * hiddenSize,
                Activation.GELU_TANH,
                1e-5,
                true,
                false,
                true,
                List.of(GPT2_END_OF_TEXT_ID));
    }

    /**
     * Reads a {@code config.json} with the keys and the defaults of Hugging Face's {@code GPT2Config}. Keys that do not
     * change what the model computes are ignored. {@code eos_token_id} may be one id or several; ids outside the
     * vocabulary, which the model cannot sample, are ignored.
     *
     * @param file a JSON object
     * @return the configuration
     * @throws IOException if the file cannot be read, a value has a wrong type or range, or it is not a GPT-2 that this
     *     library computes
     */
    public static Gpt2Config read(Path file) throws IOException {
        Json json = Json.parse(file.toString(), Files.readAllBytes(file));
        requireGpt2(json);
        if (json.bool("add_cross_attention", false)) {
            throw json.must("add_cross_attention", "be false");
        }
        int vocabSize = json.integer("vocab_size", GPT2_VOCAB_SIZE);
        int hiddenSize = json.integer("n_embd", 768);
        // n_ctx is what old files call n_positions
        int contextLength = json.integer("n_positions", json.integer("n_ctx", GPT2_CONTEXT_LENGTH));
        int innerSize = json.get("n_inner").isNull() ? 4 * hiddenSize : json.integer("n_inner", 4 * hiddenSize);
        try {
            return new Gpt2Config(
                    vocabSize,
                    contextLength,
                    hiddenSize,
                    json.integer("n_layer", 12),
                    json.integer("n_head", 12),
                    innerSize,
                    Activation.of(json.string("activation_function", "gelu_new")),
                    json.number("layer_norm_epsilon", 1e-5),
                    json.bool("scale_attn_weights", true),
                    json.bool("scale_attn_by_inverse_layer_idx", false),
                    json.bool("tie_word_embeddings", true),
                    endOfTextIds(json, vocabSize));
        } catch (IllegalArgumentException e) {
            throw new IOException(file + ": " + e.getMessage(), e);
        }
    }

    /** Without a model_type, as in files of 2019, the architecture or a key of GPT-2's own must tell. */
    private static void requireGpt2(Json json) throws IOException {
        boolean gpt2 = json.has("model_type")
                ? json.string("model_type", "").equals("gpt2")
                : json.has("architectures")
                        ? json.get("architectures").path(0).asText().startsWith("GPT2")
                        : json.has("n_embd");
        if (!gpt2) {
            throw json.must("model_type", "be \"gpt2\"");
        }
    }

    private static List<Integer> endOfTextIds(Json json, int vocabSize) throws IOException {
        List<Integer> ids = json.has("eos_token_id") ? json.ids("eos_token_id") : List.of(GPT2_END_OF_TEXT_ID);
        return inVocabulary(ids, vocabSize);
    }

    /**
     * The same model with other tokens that end a text.
     *
     * @param ids in any order; those outside the vocabulary are ignored
     * @return a copy
     */
    Gpt2Config withEndOfTextIds(List<Integer> ids) {
        return new Gpt2Config(
                vocabSize,
                contextLength,
                hiddenSize,
                layerCount,
                headCount,
                innerSize,
                activation,
                layerNormEpsilon,
                scaleAttnWeights,
                scaleAttnByInverseLayerIdx,
                tieWordEmbeddings,
                inVocabulary(ids, vocabSize));
    }

    private static List<Integer> inVocabulary(List<Integer> ids, int vocabSize) {
        return ids.stream()
                .filter(id -> id >= 0 && id < vocabSize)
                .distinct()
                .sorted()
                .toList();
    }

    /**
     * The width of one attention head.
     *
     * @return D, {@code C / H}
     */
    public int headSize() {
        return hiddenSize / headCount;
    }

    /**
     * The rows that the token embedding and the head have in memory; those from {@link #vocabSize()} on are zero.
     *
     * @return VP, V rounded up to a multiple of 64
     */
    public int paddedVocabSize() {
        return Math.ceilDiv(vocabSize, VOCAB_MULTIPLE) * VOCAB_MULTIPLE;
    }

    /**
     * The number of learned numbers; a tied head counts once.
     *
     * @return 124,439,808 for {@code gpt2}
     */
    public long parameterCount() {
        long sum = 0;
        for (long[] shape : Gpt2Weights.shapes(this).values()) {
            sum += shape.length == 1 ? shape[0] : shape[0] * shape[1];
        }
        return sum;
    }
}
