package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/**
 * A checkpoint of nanoGPT's {@code train.py}: {@code ckpt.pt}, a dict of PyTorch with the sizes in {@code model_args}
 * and the weights in {@code model}.
 */
final class NanoGpt {
    /*
     * nanoGPT's matrices are those of nn.Linear, [out, in]; GPT-2's are [in, out].
     * [1] nanoGPT, model.py and train.py, https://github.com/karpathy/nanoGPT
     */

    /** The name of the file. */
    static final String NAME = "ckpt.pt";

    private static final Set<String> MATRICES =
            Set.of("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight");

    private NanoGpt() {}

    /** Reads the configuration. */
    static Gpt2Config readConfig(Path file) throws IOException {
        return Gpt2Config.ofNanoGpt(
                Json.of(file + ": model_args", TorchFile.open(file).dict("model_args")));
    }

    /** Opens the weights; matrices are [in, out]. */
    static Checkpoint open(Path file) throws IOException {
        TorchFile torchFile = TorchFile.open(file);
        Map<String, CheckpointTensor> tensors = new LinkedHashMap<>();
        for (CheckpointTensor tensor :
                torchFile.tensors(torchFile.dict("model")).values()) {
            boolean isMatrix = tensor.shape().length == 2 && MATRICES.stream().anyMatch(tensor.name()::endsWith);
            tensors.put(tensor.name(), isMatrix ? tensor.transposed() : tensor);
        }
        return new Checkpoint(file, tensors);
    }
}
