package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.request.TorchException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.function.Function;
import java.util.function.Supplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Compiled kernels in a folder: a cubin each, followed by its SHA-256, so that a damaged file is found before the
 * driver reads it. Files are written under a temporary name and renamed, so several processes can share the folder. A
 * folder that cannot be written costs compile time only. Thread-safe.
 */
final class KernelCache {
    private static final Logger LOG = LoggerFactory.getLogger(KernelCache.class);
    private static final int HASH_BYTES = 32;

    private final Path folder;

    /** Over a folder, which need not exist. */
    KernelCache(Path folder) {
        this.folder = folder;
    }

    /**
     * Loads what the folder holds for a key; compiles it if that is missing, damaged or refused.
     *
     * @param key a name that can be a file's
     * @param compiler makes the code
     * @param loader loads the code into the device, and throws {@link TorchException} if that is not possible
     * @throws TorchException if newly compiled code cannot be loaded
     */
    <M> M load(String key, Supplier<byte[]> compiler, Function<byte[], M> loader) {
        byte[] kept = read(key);
        if (kept.length > 0) {
            try {
                return loader.apply(kept);
            } catch (TorchException e) {
                LOG.warn("{} could not be loaded and is compiled again: {}", file(key), e.getMessage());
            }
        }
        return loader.apply(compile(key, compiler));
    }

    /** Compiles, and keeps the code if the folder can be written. */
    byte[] compile(String key, Supplier<byte[]> compiler) {
        byte[] code = compiler.get();
        try {
            store(key, code);
        } catch (IOException e) {
            LOG.warn("compiled kernels could not be kept in {}: {}", folder, e.toString());
        }
        return code;
    }

    /** Where a key's code is kept. */
    Path file(String key) {
        return folder.resolve(key + ".cubin");
    }

    /** The code kept for a key; empty if there is none, or it is damaged. */
    byte[] read(String key) {
        Path file = file(key);
        try {
            if (!Files.isReadable(file)) {
                return new byte[0];
            }
            byte[] bytes = Files.readAllBytes(file);
            int size = Math.max(bytes.length - HASH_BYTES, 0);
            byte[] code = Arrays.copyOf(bytes, size);
            if (size > 0 && Arrays.equals(hash(code), Arrays.copyOfRange(bytes, size, bytes.length))) {
                return code;
            }
            LOG.warn("{} is damaged and is compiled again", file);
        } catch (IOException e) {
            LOG.warn("{} could not be read and is compiled again: {}", file, e.toString());
        }
        return new byte[0];
    }

    /**
     * Keeps code.
     *
     * @throws IOException if the folder cannot be written
     */
    void store(String key, byte[] code) throws IOException {
        Files.createDirectories(folder);
        Path temporary = Files.createTempFile(folder, "kernel", ".tmp");
        try {
            byte[] bytes = Arrays.copyOf(code, code.length + HASH_BYTES);
            System.arraycopy(hash(code), 0, bytes, code.length, HASH_BYTES);
            Files.write(temporary, bytes);
            Files.move(temporary, file(key), StandardCopyOption.ATOMIC_MOVE);
        } finally {
            Files.deleteIfExists(temporary);
        }
    }

    private static byte[] hash(byte[] code) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(code);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every JVM has it
        }
    }
}
