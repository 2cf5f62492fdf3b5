package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Converts PyTorch checkpoints to safetensors: writes {@code model.safetensors} beside a {@code pytorch_model.bin} or
 * nanoGPT's {@code ckpt.pt}, and for the latter a {@code config.json} too if there is none.
 */
public final class SafetensorsConverter {
    private static final String WEIGHTS = "model.safetensors";
    private static final String CONFIG = "config.json";

    private SafetensorsConverter() {}

    /**
     * Converts the weights of a model. They keep their values and dtypes, and get the names that Hugging Face gives
     * them; a tied head is left out, biases that the checkpoint does not have are written as zeros, and what
     * {@link Gpt2Weights#of} ignores is not written. Files are written whole or not at all.
     *
     * @param directory with {@code config.json} and {@code pytorch_model.bin} or its index and shards, or with
     *     {@code ckpt.pt}
     * @return whether a file was written; false if there was one already with the same content
     * @throws IOException if the checkpoint is missing or bad, the file cannot be written, or there is one already with
     *     other content
     */
    public static boolean convert(Path directory) throws IOException {
        ModelDirectory model = ModelDirectory.open(directory);
        Gpt2Weights weights = model.torchWeights();
        Map<String, CheckpointTensor> tensors = new LinkedHashMap<>();
        for (String name : weights.names()) {
            tensors.put(name.startsWith("lm_head.") ? name : "transformer." + name, weights.get(name));
        }
        Path file = directory.resolve(WEIGHTS);
        boolean isNew = !Files.exists(file);
        if (isNew) {
            TemporaryFile.write(file, output -> Safetensors.write(output, tensors));
        } else {
            requireSame(file, tensors);
        }
        if (!Files.exists(directory.resolve(CONFIG))) {
            weights.config().write(directory.resolve(CONFIG));
        }
        return isNew;
    }

    private static void requireSame(Path file, Map<String, CheckpointTensor> tensors) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            long size =
                    Safetensors.write((data, position) -> requireSame(file, isAt(channel, data, position)), tensors);
            requireSame(file, size == channel.size());
        }
    }

    private static boolean isAt(FileChannel channel, ByteBuffer data, long position) throws IOException {
        return data.remaining() <= channel.size() - position
                && channel.map(FileChannel.MapMode.READ_ONLY, position, data.remaining())
                        .equals(data);
    }

    private static void requireSame(Path file, boolean isSame) throws IOException {
        if (!isSame) {
            throw new IOException(file + " must be that of the weights, got another; move it away or delete it");
        }
    }
}
