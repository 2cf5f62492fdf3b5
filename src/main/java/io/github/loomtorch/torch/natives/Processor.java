package io.github.loomtorch.torch.natives;

import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.request.TorchException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Stream;

/** What the processor can do, without native code. Thread-safe. */
public final class Processor {
    private static final Path CPU_INFO = Path.of("/proc/cpuinfo");

    private Processor() {}

    /** Whether it multiplies bfloat16 matrices itself (AVX512-BF16 or AMX), so that bfloat16 beats float32. */
    public static boolean hasBfloat16() {
        return hasAny("avx512_bf16", "amx_bf16");
    }

    /** Whether it adds four products of 8-bit integers to one of 32 bits without overflow. */
    public static boolean hasVnni() {
        return hasAny("avx512_vnni", "avx_vnni");
    }

    private static boolean hasAny(String first, String second) {
        try (Stream<String> lines = Files.isReadable(CPU_INFO) ? Files.lines(CPU_INFO) : Stream.empty()) {
            return lines.filter(line -> line.startsWith("flags"))
                    .findFirst()
                    .map(line -> Arrays.asList(line.split("\\s+")))
                    .filter(flags -> flags.contains(first) || flags.contains(second))
                    .isPresent();
        } catch (IOException e) {
            return false; // not Linux, or no such file: what needs none of these is right everywhere
        }
    }

    /**
     * The number format of a model on the CPU.
     *
     * @param wanted {@link Dtype#AUTO} is bfloat16 where the processor has units for it, otherwise float32
     * @param int8Weights whether the linear layers read 8-bit weights, which are for float32
     * @return not {@link Dtype#AUTO}
     * @throws TorchException if there are no such weights for the format
     */
    public static Dtype dtype(Dtype wanted, boolean int8Weights) {
        if (wanted == Dtype.AUTO) {
            return !int8Weights && hasBfloat16() ? Dtype.BFLOAT16 : Dtype.FLOAT32;
        }
        if (int8Weights && wanted != Dtype.FLOAT32) {
            throw new TorchException("int8Weights on a CPU needs dtype float32 or auto, got " + wanted);
        }
        return wanted;
    }

    /** How many there are within the limits of a container, for reports of measurements. */
    public static String describe() {
        return Runtime.getRuntime().availableProcessors() + " processors";
    }
}
