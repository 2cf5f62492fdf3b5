package io.github.loomtorch.torch.natives;

import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.request.TorchException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The native library as a whole: loads it once and tells what the machine can do. Thread-safe. */
public final class Libtorch {
    private static final Path CPU_INFO = Path.of("/proc/cpuinfo");

    private Libtorch() {}

    /**
     * Loads libtorch; does nothing when it is loaded. JavaCPP, which loads it, takes its options from system properties
     * only. Those that are not set are set here, for the whole process:
     *
     * <ul>
     *   <li>{@code org.bytedeco.javacpp.maxBytes} and {@code maxPhysicalBytes} to 0, no limit. The defaults limit
     *       native memory to a multiple of the Java heap, and at the limit stop all threads for garbage collections.
     *   <li>{@code org.bytedeco.javacpp.platform.extension} to a blank, only where libtorch's CUDA build is not on the
     *       class path. JavaCPP would search for the CUDA libraries for half a second.
     * </ul>
     *
     * @throws TorchException if the natives are missing or do not load
     */
    public static void load() {
        setDefault("org.bytedeco.javacpp.maxBytes", "0");
        setDefault("org.bytedeco.javacpp.maxPhysicalBytes", "0");
        String gpuBuild = "/org/bytedeco/pytorch/" + Loader.getPlatform() + "-gpu/" + System.mapLibraryName("jnitorch");
        if (Libtorch.class.getResource(gpuBuild) == null) {
            setDefault("org.bytedeco.javacpp.platform.extension", " ");
        }
        try {
            Loader.load(torch.class);
            defaultThreads();
        } catch (LinkageError e) {
            throw new TorchException(
                    "libtorch could not be loaded for " + Loader.getPlatform() + ": " + firstLine(e)
                            + "; put the natives org.bytedeco:pytorch, openblas and javacpp with this platform's classifier on the class"
                            + " path, and for CUDA the CUDA 13, cuDNN 9 and NCCL libraries on the library path",
                    e);
        }
    }

    private static void setDefault(String property, String value) {
        if (System.getProperty(property) == null) {
            System.setProperty(property, value);
        }
    }

    private static final class Threads {
        /** Threads of one operation, before anything changed it. */
        static final int DEFAULT = torch.get_num_threads();
    }

    /** Threads that libtorch takes for one operation unless told otherwise. */
    public static int defaultThreads() {
        return Threads.DEFAULT;
    }

    /** Devices named cuda:0, cuda:1, ...; 0 where libtorch has no CUDA or the machine no working GPU. */
    public static int cudaDeviceCount() {
        return torch.hasCUDA() ? (int) torch.getNumGPUs() : 0;
    }

    /**
     * Whether the processor multiplies bfloat16 matrices itself (AVX512-BF16 or AMX), so that bfloat16 beats float32.
     */
    public static boolean cpuHasBfloat16() {
        try {
            List<String> lines = Files.isReadable(CPU_INFO) ? Files.readAllLines(CPU_INFO) : List.of();
            return lines.stream()
                    .filter(line -> line.startsWith("flags"))
                    .findFirst()
                    .map(line -> Arrays.asList(line.split("\\s+")))
                    .filter(flags -> flags.contains("avx512_bf16") || flags.contains("amx_bf16"))
                    .isPresent();
        } catch (IOException e) {
            return false; // not Linux, or no such file: float32 is right everywhere
        }
    }

    /** The type of the weights and of all computation; {@link Dtype#AUTO} is resolved for the device. */
    public static ScalarType scalarType(Dtype dtype, boolean cuda) {
        return switch (dtype) {
            case FLOAT32 -> ScalarType.Float;
            case FLOAT16 -> ScalarType.Half;
            case BFLOAT16 -> ScalarType.BFloat16;
            case AUTO -> cuda ? ScalarType.Half : cpuHasBfloat16() ? ScalarType.BFloat16 : ScalarType.Float;
        };
    }

    /** The same back: not {@link Dtype#AUTO}. */
    public static Dtype dtype(ScalarType type) {
        return switch (type) {
            case Half -> Dtype.FLOAT16;
            case BFloat16 -> Dtype.BFLOAT16;
            default -> Dtype.FLOAT32;
        };
    }

    /** Bytes of one element. */
    public static int sizeBytes(ScalarType dtype) {
        return dtype == ScalarType.Float ? 4 : 2;
    }

    /** The first line of a message that says anything. */
    public static String firstLine(Throwable e) {
        return String.valueOf(e.getMessage())
                .lines()
                .filter(line -> !line.isBlank())
                .findFirst()
                .orElse("no reason given");
    }
}
