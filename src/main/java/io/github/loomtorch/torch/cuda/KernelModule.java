package io.github.loomtorch.torch.cuda;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;

/**
 * What is compiled at once: a CUDA file with compiler options. A module of one file with other options has another
 * name.
 *
 * @param name such as {@code sample_512}
 * @param file the source
 * @param options of NVRTC and nvcc, complete
 */
record KernelModule(String name, KernelFile file, List<String> options) {

    /** Copies the list. */
    KernelModule {
        options = List.copyOf(options);
    }

    /**
     * A hash of all that the compiled code depends on.
     *
     * @param compiler the compiler's version
     */
    String key(String compiler) {
        String all = file.source() + KernelFile.headers() + options + compiler;
        try {
            return HexFormat.of()
                    .formatHex(MessageDigest.getInstance("SHA-256").digest(all.getBytes(StandardCharsets.UTF_8)));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every JVM has it
        }
    }
}
