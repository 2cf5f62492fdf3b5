package io.github.loomtorch.model;

import java.io.IOException;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The weights of one GPT-2: every tensor that its configuration calls for, found in a checkpoint and checked.
 *
 * <p>Names and layout are Hugging Face's, without prefixes: {@code wte.weight} {@code [V, C]}, {@code wpe.weight},
 * {@code h.0.ln_1.weight}, ..., {@code ln_f.bias} and, unless the head is tied, {@code lm_head.weight} {@code [V, C]}.
 * The matrices of a layer (there {@code Conv1D}) are {@code [in, out]}: {@code y = x W + b}. Immutable and thread-safe.
 */
public final class Gpt2Weights {
    private static final Logger LOG = LoggerFactory.getLogger(Gpt2Weights.class);
    private static final String EMBEDDING = "wte.weight";
    private static final String HEAD = "lm_head.weight";
    /** By Hugging Face, {@code DataParallel} and {@code torch.compile}; a name may have several. */
    private static final Pattern PREFIXES = Pattern.compile("^((transformer|module|_orig_mod)\\.)+");
    /** Causal masks, which old versions of Hugging Face's Transformers and of nanoGPT stored beside the weights. */
    private static final Pattern MASK = Pattern.compile("h\\.\\d+\\.attn\\.(masked_)?bias");

    /** What weights may be stored as. */
    static final List<DType> DTYPES = List.of(DType.F32, DType.F16, DType.BF16, DType.F64);

    private static final int VOCAB_MULTIPLE = 8;
    private static final int MAX_VOCAB_PADDING = 1024;

    private final Gpt2Config config;
    private final Map<String, CheckpointTensor> tensors;

    Gpt2Weights(Gpt2Config config, Map<String, CheckpointTensor> tensors) {
        this.config = config;
        this.tensors = Collections.unmodifiableMap(tensors);
    }

    /**
     * The tensors that a model consists of.
     *
     * @param config of the model
     * @return shapes by name, from the embeddings through the layers to the head; the caller's own
     */
    public static Map<String, long[]> shapes(Gpt2Config config) {
        long c = config.hiddenSize();
        long f = config.innerSize();
        Map<String, long[]> shapes = new LinkedHashMap<>();
        shapes.put(EMBEDDING, new long[] {config.vocabSize(), c});
        shapes.put("wpe.weight", new long[] {config.contextLength(), c});
        for (int layer = 0; layer < config.layerCount(); layer++) {
            String h = "h." + layer + ".";
            shapes.put(h + "ln_1.weight", new long[] {c});
            shapes.put(h + "ln_1.bias", new long[] {c});
            shapes.put(h + "attn.c_attn.weight", new long[] {c, 3 * c}); // columns: query, key, value
            shapes.put(h + "attn.c_attn.bias", new long[] {3 * c});
            shapes.put(h + "attn.c_proj.weight", new long[] {c, c});
            shapes.put(h + "attn.c_proj.bias", new long[] {c});
            shapes.put(h + "ln_2.weight", new long[] {c});
            shapes.put(h + "ln_2.bias", new long[] {c});
            shapes.put(h + "mlp.c_fc.weight", new long[] {c, f});
            shapes.put(h + "mlp.c_fc.bias", new long[] {f});
            shapes.put(h + "mlp.c_proj.weight", new long[] {f, c});
            shapes.put(h + "mlp.c_proj.bias", new long[] {c});
        }
        shapes.put("ln_f.weight", new long[] {c});
        shapes.put("ln_f.bias", new long[] {c});
        if (!config.tieWordEmbeddings()) {
            shapes.put(HEAD, new long[] {config.vocabSize(), c});
        }
        return shapes;
    }

    /**
     * Finds a model's tensors in a checkpoint.
     *
     * <ul>
     *   <li>Names may have the prefixes {@code transformer.}, {@code module.} and {@code _orig_mod.}, in any order.
     *   <li>The stored head decides whether the head is tied: one that differs from the token embedding is used, even
     *       if the configuration says that it is tied. If a tied model's token embedding is not stored, its head is it.
     *   <li>Biases may be absent, those of all LayerNorms or those of all matrices, and are then zero.
     *   <li>The token embedding and the head may be padded: have up to 1,023 rows more than the vocabulary, if their
     *       number is a multiple of 8. The rows after the vocabulary are ignored.
     *   <li>Stored masks are ignored; other tensors that the model does not use are logged as a warning.
     * </ul>
     *
     * @param config of the model
     * @param checkpoint its tensors
     * @return the weights, not yet mapped
     * @throws IOException if a tensor is missing, is there twice, has another shape than the configuration says, or is
     *     not F32, F16, BF16 or F64, or if the head cannot be read
     */
    public static Gpt2Weights of(Gpt2Config config, Checkpoint checkpoint) throws IOException {
        Map<String, CheckpointTensor> stored = byName(checkpoint);
        boolean tied = config.tieWordEmbeddings();
        if (tied && !stored.containsKey(EMBEDDING) && stored.containsKey(HEAD)) {
            stored.put(EMBEDDING, stored.get(HEAD));
        }
        if (tied && stored.containsKey(EMBEDDING) && stored.containsKey(HEAD)) {
            long[] shape = {config.vocabSize(), config.hiddenSize()};
            tied = withShape(shape, stored.get(HEAD)).hasDataOf(withShape(shape, stored.get(EMBEDDING)));
        }
        Gpt2Config actual = config.withTieWordEmbeddings(tied);
        Map<String, long[]> shapes = shapes(actual);
        boolean normBiases = shapes.keySet().stream().anyMatch(name -> isNormBias(name) && stored.containsKey(name));
        boolean matrixBiases =
                shapes.keySet().stream().anyMatch(name -> isMatrixBias(name) && stored.containsKey(name));
        Map<String, CheckpointTensor> tensors = new LinkedHashMap<>();
        for (Map.Entry<String, long[]> expected : shapes.entrySet()) {
            String name = expected.getKey();
            CheckpointTensor tensor = stored.get(name);
            if (tensor == null && (isNormBias(name) && !normBiases || isMatrixBias(name) && !matrixBiases)) {
                tensor = CheckpointTensor.zeros(
                        name, Objects.requireNonNull(tensors.get(EMBEDDING)).dtype(), expected.getValue());
            }
            if (tensor == null) {
                throw new IOException(checkpoint.path() + ": expected tensor " + name + " of shape "
                        + Arrays.toString(expected.getValue()) + ", got none of that name");
            }
            tensors.put(name, withShape(expected.getValue(), tensor));
        }
        warnOfUnused(checkpoint, stored, shapes.keySet());
        return new Gpt2Weights(actual, tensors);
    }

    /** The checkpoint's tensors by their names without prefixes. */
    private static Map<String, CheckpointTensor> byName(Checkpoint checkpoint) throws IOException {
        Map<String, CheckpointTensor> tensors = new HashMap<>();
        for (String stored : checkpoint.names()) {
            String name = PREFIXES.matcher(stored).replaceFirst("");
            CheckpointTensor other = tensors.put(name, checkpoint.tensor(stored));
            if (other != null) {
                throw new IOException(checkpoint.path() + ": expected one tensor " + Json.shorten(name) + ", got "
                        + Json.shorten(other.name()) + " and " + Json.shorten(stored));
            }
        }
        return tensors;
    }

    private static boolean isNormBias(String name) {
        return name.endsWith(".bias") && name.contains("ln_");
    }

    private static boolean isMatrixBias(String name) {
        return name.endsWith(".bias") && !name.contains("ln_");
    }

    /** Checks dtype and shape; rows of padding are cut off. */
    private static CheckpointTensor withShape(long[] expected, CheckpointTensor tensor) throws IOException {
        if (!DTYPES.contains(tensor.dtype())) {
            throw new IOException(tensor.where() + ": dtype must be one of " + DTYPES + ", got " + tensor.dtype());
        }
        long[] shape = tensor.shape();
        if (Arrays.equals(shape, expected)) {
            return tensor;
        }
        boolean isPadded = (tensor.name().endsWith(EMBEDDING) || tensor.name().endsWith(HEAD))
                && shape.length == 2
                && shape[1] == expected[1]
                && shape[0] % VOCAB_MULTIPLE == 0
                && shape[0] > expected[0]
                && shape[0] - expected[0] < MAX_VOCAB_PADDING;
        if (!isPadded) {
            throw new IOException(tensor.where() + ": expected shape " + Arrays.toString(expected)
                    + " from the configuration, got " + Json.shorten(Arrays.toString(shape)));
        }
        return tensor.firstRows(expected[0]);
    }

    private static void warnOfUnused(Checkpoint checkpoint, Map<String, CheckpointTensor> stored, Set<String> used) {
        Set<String> unused = new TreeSet<>();
        for (Map.Entry<String, CheckpointTensor> tensor : stored.entrySet()) {
            String name = tensor.getKey();
            if (!used.contains(name)
                    && !name.equals(HEAD)
                    && !MASK.matcher(name).matches()) {
                unused.add(tensor.getValue().name());
            }
        }
        if (!unused.isEmpty()) {
            LOG.warn(
                    "{}: {} tensors are not part of the model and ignored: {}",
                    checkpoint.path(),
                    unused.size(),
                    Json.shorten(unused.toString()));
        }
    }

    /**
     * The configuration that fits the weights.
     *
     * @return the one that was given, but whether the head is tied is as stored
     */
    public Gpt2Config config() {
        return config;
    }

    /**
     * The type that holds all weights best.
     *
     * @return F16 or BF16 if all stored weights are of that type, otherwise F32
     */
    public DType dtype() {
        List<DType> stored = tensors.values().stream()
                .map(CheckpointTensor::dtype)
                .distinct()
                .toList();
        return stored.equals(List.of(DType.F16)) || stored.equals(List.of(DType.BF16)) ? stored.get(0) : DType.F32;
    }

    /**
     * The names of all weights.
     *
     * @return from the embeddings through the layers to the head; unmodifiable
     */
    public Set<String> names() {
        return tensors.keySet();
    }

    /**
     * One weight.
     *
     * @param name without prefixes, such as {@code h.3.attn.c_attn.weight}
     * @return the tensor, F32, F16, BF16 or F64, under the name that it has in its file
     * @throws IllegalArgumentException if the model has no weight of that name
     */
    public CheckpointTensor get(String name) {
        CheckpointTensor tensor = tensors.get(name);
        if (tensor == null) {
            throw new IllegalArgumentException(
                    "name must be one of the model's " + tensors.size() + " weights, got " + name);
        }
        return tensor;
    }
}
