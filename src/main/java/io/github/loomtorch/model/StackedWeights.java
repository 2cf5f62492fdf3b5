package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The parameters of a GPT-2 as its TorchScript program has them. Each holds one kind of weight of all layers; matrices
 * are {@code [out, in]}, the token embedding and the head have {@link Gpt2Config#paddedVocabSize()} rows.
 */
public final class StackedWeights {
    private static final Map<String, String> CHECKPOINT_NAMES = Map.ofEntries(
            Map.entry("wte", "wte.weight"),
            Map.entry("wpe", "wpe.weight"),
            Map.entry("ln1_w", "h.%d.ln_1.weight"),
            Map.entry("ln1_b", "h.%d.ln_1.bias"),
            Map.entry("qkv_w", "h.%d.attn.c_attn.weight"),
            Map.entry("qkv_b", "h.%d.attn.c_attn.bias"),
            Map.entry("proj_w", "h.%d.attn.c_proj.weight"),
            Map.entry("proj_b", "h.%d.attn.c_proj.bias"),
            Map.entry("ln2_w", "h.%d.ln_2.weight"),
            Map.entry("ln2_b", "h.%d.ln_2.bias"),
            Map.entry("fc_w", "h.%d.mlp.c_fc.weight"),
            Map.entry("fc_b", "h.%d.mlp.c_fc.bias"),
            Map.entry("out_w", "h.%d.mlp.c_proj.weight"),
            Map.entry("out_b", "h.%d.mlp.c_proj.bias"),
            Map.entry("lnf_w", "ln_f.weight"),
            Map.entry("lnf_b", "ln_f.bias"),
            Map.entry("lm_head", "lm_head.weight"));

    private StackedWeights() {}

    /**
     * The parameters that a model consists of.
     *
     * @param config of the model
     * @return shapes by name, in the order of the program; the caller's own
     */
    public static Map<String, long[]> shapes(Gpt2Config config) {
        long v = config.paddedVocabSize();
        long l = config.layerCount();
        long c = config.hiddenSize();
        long f = config.innerSize();
        Map<String, long[]> shapes = new LinkedHashMap<>();
        shapes.put("wte", new long[] {v, c});
        shapes.put("wpe", new long[] {config.contextLength(), c});
        shapes.put("ln1_w", new long[] {l, c});
        shapes.put("ln1_b", new long[] {l, c});
        shapes.put("qkv_w", new long[] {l, 3 * c, c});
        shapes.put("qkv_b", new long[] {l, 3 * c});
        shapes.put("proj_w", new long[] {l, c, c});
        shapes.put("proj_b", new long[] {l, c});
        shapes.put("ln2_w", new long[] {l, c});
        shapes.put("ln2_b", new long[] {l, c});
        shapes.put("fc_w", new long[] {l, f, c});
        shapes.put("fc_b", new long[] {l, f});
        shapes.put("out_w", new long[] {l, c, f});
        shapes.put("out_b", new long[] {l, c});
        shapes.put("lnf_w", new long[] {c});
        shapes.put("lnf_b", new long[] {c});
        if (!config.tieWordEmbeddings()) {
            shapes.put("lm_head", new long[] {v, c});
        }
        return shapes;
    }

    /**
     * Whether a parameter holds a weight of each layer.
     *
     * @param name one of {@link #shapes}
     * @return false for embeddings, the last LayerNorm and the head
     */
    public static boolean isOfLayers(String name) {
        return pattern(name).contains("%d");
    }

    /**
     * The name of a weight in {@link Gpt2Weights}.
     *
     * @param name of the parameter that holds it, one of {@link #shapes}
     * @param layer from 0; of no effect unless {@link #isOfLayers}
     * @return such as {@code h.3.attn.c_attn.weight} for {@code qkv_w} of layer 3
     */
    public static String checkpointName(String name, int layer) {
        return pattern(name).formatted(layer);
    }

    private static String pattern(String name) {
        return Objects.requireNonNull(CHECKPOINT_NAMES.get(name), name);
    }

    /**
     * The weights in an archive, layer by layer.
     *
     * @param archive whose parameters are those of the program
     * @param config of the model
     * @return the weights, not yet mapped
     * @throws IOException if a parameter is missing, has another shape than the configuration says, or is not F32, F16,
     *     BF16 or F64
     */
    public static Gpt2Weights of(TorchScriptArchive archive, Gpt2Config config) throws IOException {
        Map<String, CheckpointTensor> tensors = new LinkedHashMap<>();
        for (Map.Entry<String, long[]> expected : shapes(config).entrySet()) {
            String name = expected.getKey();
            CheckpointTensor tensor = archive.tensors().get(name);
            long @Nullable [] shape = tensor == null ? null : tensor.shape();
            if (tensor == null || !Arrays.equals(shape, expected.getValue())) {
                throw unfit(archive.path(), name, expected.getValue(), shape);
            }
            if (!Gpt2Weights.DTYPES.contains(tensor.dtype())) {
                throw new IOException(archive.path() + ": parameter " + name + ": dtype must be one of "
                        + Gpt2Weights.DTYPES + ", got " + tensor.dtype());
            }
            if (!isOfLayers(name)) {
                boolean isPadded = name.equals("wte") || name.equals("lm_head");
                tensors.put(checkpointName(name, 0), isPadded ? tensor.firstRows(config.vocabSize()) : tensor);
                continue;
            }
            for (int layer = 0; layer < config.layerCount(); layer++) {
                CheckpointTensor weight = tensor.slice(layer);
                boolean isMatrix = weight.shape().length == 2;
                tensors.put(checkpointName(name, layer), isMatrix ? weight.transposed() : weight);
            }
        }
        return new Gpt2Weights(config, tensors);
    }

    /**
     * That a file has not the parameter that the configuration calls for.
     *
     * @param file the archive
     * @param name of the parameter
     * @param expected its shape
     * @param shape the one in the file; null if it has none of that name
     * @return to be thrown
     */
    public static IOException unfit(Path file, String name, long[] expected, long @Nullable [] shape) {
        return new IOException(file + ": expected parameter " + name + " of shape " + Arrays.toString(expected)
                + " from config.json, got " + (shape == null ? "none of that name" : Arrays.toString(shape)));
    }
}
