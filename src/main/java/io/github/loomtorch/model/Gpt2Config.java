package io.github.loomtorch.model;

import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The hyperparameters of a GPT-2 that its results depend on. The maximum sizes are far above any published model; they
 * keep a bad file from asking for absurd amounts of memory. Immutable.
 *
 * @param vocabSize V, the number of token ids, in [1, 16,777,216] ({@code vocab_size})
 * @param contextLength maximum number of tokens of one sequence, in [1, 1,048,576] ({@code n_positions})
 * @param hiddenSize C, in [1, 65,536], a multiple of {@code headCount} ({@code n_embd})
 * @param layerCount L, in [1, 1,024] ({@code n_layer})
 * @param headCount H, &gt;= 1 ({@code n_head})
 * @param innerSize F, in [1, 262,144], mostly {@code 4 * C} ({@code n_inner})
 * @param activation of the feed-forward block ({@code activation_function})
 * @param layerNormEpsilon added to the variance, &gt; 0 ({@code layer_norm_epsilon})
 * @param scaleAttnWeights whether attention scores are divided by {@code sqrt(D)} ({@code scale_attn_weights})
 * @param scaleAttnByInverseLayerIdx whether the scores of layer {@code l}, counted from 0, are divided by {@code l + 1}
 *     too ({@code scale_attn_by_inverse_layer_idx})
 * @param tieWordEmbeddings whether the head's weight is the token embedding itself ({@code tie_word_embeddings}); of a
 *     stored model {@link Gpt2Weights#config()} knows better
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

    private static final int MAX_VOCAB_SIZE = 1 << 24;
    private static final int MAX_CONTEXT_LENGTH = 1 << 20;
    private static final int MAX_HIDDEN_SIZE = 1 << 16;
    private static final int MAX_LAYERS = 1 << 10;
    private static final int MAX_INNER_SIZE = 1 << 18;
    private static final int GPT2_VOCAB_SIZE = 50257;
    private static final int GPT2_CONTEXT_LENGTH = 1024;
    private static final int GPT2_END_OF_TEXT_ID = 50256;

    /**
     * Validates.
     *
     * @throws IllegalArgumentException naming the first value that is out of its range
     */
    public Gpt2Config {
        requireSize("vocabSize (vocab_size)", vocabSize, MAX_VOCAB_SIZE);
        requireSize("contextLength (n_positions)", contextLength, MAX_CONTEXT_LENGTH);
        requireSize("hiddenSize (n_embd)", hiddenSize, MAX_HIDDEN_SIZE);
        requireSize("layerCount (n_layer)", layerCount, MAX_LAYERS);
        requireSize("headCount (n_head)", headCount, MAX_HIDDEN_SIZE);
        requireSize("innerSize (n_inner)", innerSize, MAX_INNER_SIZE);
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

    private static void requireSize(String name, int value, int max) {
        if (value < 1 || value > max) {
            throw new IllegalArgumentException(name + " must be in [1, " + max + "], got " + value);
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
     * Reads a {@code config.json} as Hugging Face's {@code GPT2Config} does, with one difference: the sizes of the
     * model are required, as their defaults are those of another model. Keys that do not change what the model computes
     * are ignored.
     *
     * <ul>
     *   <li>Required: {@code vocab_size}, {@code n_embd} (or its alias {@code hidden_size}), {@code n_layer}
     *       ({@code num_hidden_layers}), {@code n_head} ({@code num_attention_heads}) and {@code n_positions}
     *       ({@code max_position_embeddings}; {@code n_ctx} in files of 2019). An alias counts before the key itself.
     *   <li>With GPT-2's value where absent or null: all others. Without {@code eos_token_id} the token is 50256; null
     *       means none. It may be one id or several; ids outside the vocabulary, which the model cannot sample, are
     *       ignored.
     * </ul>
     *
     * @param file a JSON object as Python writes it, at most 4 MiB
     * @return the configuration
     * @throws IOException if the file cannot be read, a value has a wrong type or range, or it is not a GPT-2 that this
     *     library computes
     */
    public static Gpt2Config read(Path file) throws IOException {
        Json json = Json.read(file);
        requireGpt2(json);
        if (json.bool("add_cross_attention", false)) {
            throw json.must("add_cross_attention", "be false");
        }
        int vocabSize = json.integer("vocab_size");
        int hiddenSize = size(json, "n_embd", "hidden_size");
        boolean of2019 = !json.hasValue("n_positions") && json.hasValue("n_ctx");
        try {
            return new Gpt2Config(
                    vocabSize,
                    size(json, of2019 ? "n_ctx" : "n_positions", "max_position_embeddings"),
                    hiddenSize,
                    size(json, "n_layer", "num_hidden_layers"),
                    size(json, "n_head", "num_attention_heads"),
                    json.hasValue("n_inner") ? json.integer("n_inner") : innerSize(hiddenSize),
                    Activation.of(json.string("activation_function", "gelu_new")),
                    json.number("layer_norm_epsilon", 1e-5),
                    json.bool("scale_attn_weights", true),
                    json.bool("scale_attn_by_inverse_layer_idx", false),
                    json.bool("tie_word_embeddings", true),
                    inVocabulary(
                            json.has("eos_token_id") ? json.ids("eos_token_id") : List.of(GPT2_END_OF_TEXT_ID),
                            vocabSize));
        } catch (IllegalArgumentException e) {
            throw new IOException(file + ": " + e.getMessage(), e);
        }
    }

    private static int size(Json json, String key, String alias) throws IOException {
        return json.integer(json.hasValue(alias) ? alias : key);
    }

    /** By default. A hidden size that is out of range stays so. */
    private static int innerSize(int hiddenSize) {
        return Math.clamp(4L * hiddenSize, 1, MAX_INNER_SIZE);
    }

    /** Without a model_type, as in files of 2019, the architecture or a key of GPT-2's own must tell. */
    private static void requireGpt2(Json json) throws IOException {
        boolean gpt2 = json.hasValue("model_type")
                ? json.string("model_type").equals("gpt2")
                : json.hasValue("architectures")
                        ? json.get("architectures").path(0).asText().startsWith("GPT2")
                        : json.has("n_embd");
        if (!gpt2) {
            throw json.must("model_type", "be \"gpt2\"");
        }
    }

    /**
     * The configuration of a nanoGPT checkpoint: GELU by the error function, a tied head, and GPT-2's end-of-text token
     * if the vocabulary has it.
     *
     * @param json {@code model_args} of the checkpoint
     */
    static Gpt2Config ofNanoGpt(Json json) throws IOException {
        int vocabSize = json.integer("vocab_size");
        int hiddenSize = json.integer("n_embd");
        try {
            return new Gpt2Config(
                    vocabSize,
                    json.integer("block_size"),
                    hiddenSize,
                    json.integer("n_layer"),
                    json.integer("n_head"),
                    innerSize(hiddenSize),
                    Activation.GELU,
                    1e-5,
                    true,
                    false,
                    true,
                    inVocabulary(List.of(GPT2_END_OF_TEXT_ID), vocabSize));
        } catch (IllegalArgumentException e) {
            throw new IOException(json.where() + ": " + e.getMessage(), e);
        }
    }

    /**
     * Writes a {@code config.json} that Hugging Face's Transformers and {@link #read} understand.
     *
     * @param file to create or replace
     * @throws IOException if it cannot be written
     */
    public void write(Path file) throws IOException {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("architectures", List.of("GPT2LMHeadModel"));
        json.put("model_type", "gpt2");
        json.put("vocab_size", vocabSize);
        json.put("n_positions", contextLength);
        json.put("n_embd", hiddenSize);
        json.put("n_layer", layerCount);
        json.put("n_head", headCount);
        json.put("n_inner", innerSize);
        json.put("activation_function", activation.configName());
        json.put("layer_norm_epsilon", layerNormEpsilon);
        json.put("scale_attn_weights", scaleAttnWeights);
        json.put("scale_attn_by_inverse_layer_idx", scaleAttnByInverseLayerIdx);
        json.put("tie_word_embeddings", tieWordEmbeddings);
        json.put("eos_token_id", endOfTextIds.isEmpty() ? null : endOfTextIds);
        byte[] bytes =
                JsonMapper.builder().build().writerWithDefaultPrettyPrinter().writeValueAsBytes(json);
        TemporaryFile.write(file, output -> output.write(ByteBuffer.wrap(bytes), 0));
    }

    /**
     * The same model with other tokens that end a text.
     *
     * @param ids in any order; those outside the vocabulary are ignored
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

    /**
     * The same model with a head of its own or without.
     *
     * @param tied see {@link #tieWordEmbeddings()}
     * @return a new configuration
     */
    public Gpt2Config withTieWordEmbeddings(boolean tied) {
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
                tied,
                endOfTextIds);
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
