package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;

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
     * {@link Gpt2Weights#of} ignores is not written. The file appears only when it is whole.
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
        boolean written = write(directory.resolve(WEIGHTS), file -> {
            try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
                Safetensors.write(channel, tensors);
                channel.force(true);
            }
        });
        if (!Files.exists(directory.resolve(CONFIG))) {
            write(directory.resolve(CONFIG), weights.config()::write);
        }
        return written;
    }

    private interface Writer {
        void write(Path file) throws IOException;
    }

    /** Writes another file first, and renames it: so nobody sees a part, and a failure leaves nothing. */
    private static boolean write(Path file, Writer writer) throws IOException {
        Path temporary = file.resolveSibling(file.getFileName() + "." + UUID.randomUUID() + ".tmp");
        temporary.toFile().deleteOnExit(); // on SIGTERM too
        try {
            Files.createFile(temporary);
            writer.write(temporary);
            if (Files.exists(file)) {
                if (Files.mismatch(file, temporary) != -1) {
                    throw new FileSystemException(
                            file.toString(), null, "there is another one; move it away or delete it");
                }
                return false;
            }
            Files.move(temporary, file, StandardCopyOption.ATOMIC_MOVE);
            return true;
        } catch (IOException e) {
            throw new IOException(file + " could not be written: " + reason(e), e);
        } finally {
            Files.deleteIfExists(temporary);
        }
    }

    /** Without the name of the temporary file, which says nothing to the user. */
    private static String reason(IOException e) {
        if (e instanceof AccessDeniedException) {
            return "access denied";
        }
        boolean explained = e instanceof FileSystemException failed && failed.getReason() != null;
        return explained ? ((FileSystemException) e).getReason() : String.valueOf(e.getMessage());
    }
}
