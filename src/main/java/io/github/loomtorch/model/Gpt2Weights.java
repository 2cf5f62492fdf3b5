package io.github.loomtorch.model;

import java.io.IOException;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The weights of one GPT-2: every tensor that its configuration calls for, found in a checkpoint and checked.
 *
 * <p>Names and layout are Hugging Face's, without the prefix {@code transformer.}, which files may have or not:
 * {@code wte.weight} {@code [V, C]}, {@code wpe.weight}, {@code h.0.ln_1.weight}, ..., {@code ln_f.bias} and, unless it
 * is tied, {@code lm_head.weight} {@code [V, C]}. The matrices of a layer (there {@code Conv1D}) are {@code [in, out]}:
 * {@code y = x W + b}. Immutable and thread-safe.
 */
public final class Gpt2Weights {
    private static final Logger LOG = LoggerFactory.getLogger(Gpt2Weights.class);
    private static final String PREFIX = "transformer.";
    private static final String HEAD = "lm_head.weight";
    /** Causal masks that old versions of Hugging Face's Transformers stored as if they were weights. */
    private static final Pattern MASK = Pattern.compile("(transformer\\.)?h\\.\\d+\\.attn\\.(masked_)?bias");

    private static final List<Safetensors.DType> DTYPES =
            List.of(Safetensors.DType.F32, Safetensors.DType.F16, Safetensors.DType.BF16);

    private final Map<String, Safetensors.Tensor> tensors;

    private Gpt2Weights(Map<String, Safetensors.Tensor> tensors) {
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
        shapes.put("wte.weight", new long[] {config.vocabSize(), c});
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
     * Finds a model's tensors in a checkpoint. Stored masks and, if the head is tied, its copy are passed over; other
     * tensors that the model does not use are logged as a warning.
     *
     * @param config of the model
     * @param checkpoint its tensors, named with or without {@code transformer.}
     * @return the weights, mapped but not yet read
     * @throws IOException if a tensor is missing, has another shape than the configuration says, is not F32, F16 or
     *     BF16, or cannot be mapped
     */
    public static Gpt2Weights of(Gpt2Config config, Safetensors checkpoint) throws IOException {
        Map<String, Safetensors.Tensor> tensors = new LinkedHashMap<>();
        Set<String> unused = new HashSet<>(checkpoint.names());
        for (Map.Entry<String, long[]> expected : shapes(config).entrySet()) {
            String name = expected.getKey();
            String stored = checkpoint.names().contains(name) ? name : PREFIX + name;
            if (!unused.remove(stored)) {
                throw new IOException(checkpoint.path() + ": expected tensor " + name + " of shape "
                        + Arrays.toString(expected.getValue()) + ", got none of that name");
            }
            Safetensors.Tensor tensor = checkpoint.tensor(stored);
            if (!Arrays.equals(tensor.shape(), expected.getValue())) {
                throw new IOException(checkpoint.file(stored) + ": tensor " + stored + ": expected shape "
                        + Arrays.toString(expected.getValue()) + " from the configuration, got "
                        + Arrays.toString(tensor.shape()));
            }
            if (!DTYPES.contains(tensor.dtype())) {
                throw new IOException(checkpoint.file(stored) + ": tensor " + stored + ": dtype must be one of "
                        + DTYPES + ", got " + tensor.dtype());
            }
            tensors.put(name, tensor);
        }
        unused.removeIf(name -> name.equals(HEAD) || MASK.matcher(name).matches());
        if (!unused.isEmpty()) {
            LOG.warn(
                    "{}: {} tensors are not part of the model and ignored: {}",
                    checkpoint.path(),
                    unused.size(),
                    unused.stream().sorted().toList());
        }
        return new Gpt2Weights(tensors);
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
     * @param name without {@code transformer.}, such as {@code h.3.attn.c_attn.weight}
     * @return the tensor, F32, F16 or BF16, under the name that it has in its file
     * @throws IllegalArgumentException if the model has no weight of that name
     */
    public Safetensors.Tensor get(String name) {
        Safetensors.Tensor tensor = tensors.get(name);
        if (tensor == null) {
            throw new IllegalArgumentException(
                    "name must be one of the model's " + tensors.size() + " weights, got " + name);
        }
        return tensor;
    }
}
