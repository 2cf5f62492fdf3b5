package io.github.loomtorch.torch.cpu;

import io.github.loomtorch.model.TemporaryFile;
import io.github.loomtorch.torch.natives.Failures;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.zip.CRC32;
import org.bytedeco.javacpp.Loader;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The functions of the C library. Thread-safe but for those that take a model. */
public final class CpuKernels {
    /** Set to false, models on a CPU run as TorchScript programs. */
    public static final String PROPERTY = "loomtorch.cpuKernels";

    private static final Logger LOG = LoggerFactory.getLogger(CpuKernels.class);
    private static final String PLATFORM = "linux-x86_64";

    /** The instruction sets by their numbers in the library, from 1 on. */
    private static final List<String> INSTRUCTIONS =
            List.of("AVX2", "AVX-512 with VNNI", "AVX-512 with VNNI and BF16", "AVX-512 with VNNI and AMX");

    private CpuKernels() {}

    /** The library, loaded when it is first asked for. */
    private record Library(int instructionSet, Optional<String> problem) {
        static final Library HERE = load();

        private static Library load() {
            String platform = Loader.getPlatform();
            if (!platform.equals(PLATFORM)) {
                return new Library(0, Optional.of("there are no kernels for " + platform));
            }
            try {
                System.load(extracted().toString());
                int instructionSet = CpuKernels.instructionSet();
                return new Library(
                        instructionSet,
                        instructionSet > 0 ? Optional.empty() : Optional.of("the processor has no AVX2, FMA and F16C"));
            } catch (IOException | LinkageError e) {
                String problem = "libloomtorch could not be loaded: " + Failures.firstLine(e);
                LOG.warn("models on the CPU run as TorchScript programs, slower: {}", problem);
                return new Library(0, Optional.of(problem));
            }
        }
    }

    /** The library as a file. JavaCPP's cache would take two builds of one size and time for the same. */
    private static Path extracted() throws IOException {
        byte[] library;
        try (InputStream in = CpuKernels.class.getResourceAsStream(PLATFORM + "/libloomtorch.so")) {
            if (in == null) {
                throw new IOException("libloomtorch.so is not in the jar");
            }
            library = in.readAllBytes();
        }
        Path file = file(library);
        if (!Files.isRegularFile(file) || !Arrays.equals(library, Files.readAllBytes(file))) {
            Files.createDirectories(file.getParent());
            TemporaryFile.write(file, output -> output.write(ByteBuffer.wrap(library), 0));
        }
        return file;
    }

    /** Where the library lies. */
    static Path file(byte[] library) throws IOException {
        CRC32 crc = new CRC32();
        crc.update(library);
        Path folder = Loader.getCacheDir().toPath().toAbsolutePath().resolve("loomtorch");
        return folder.resolve("libloomtorch-%08x.so".formatted(crc.getValue()));
    }

    /**
     * Whether this process can use the library. Loads it.
     *
     * @return true if {@link #whyNot} is empty
     */
    public static boolean isAvailable() {
        return whyNot().isEmpty();
    }

    /**
     * Why this process cannot use the library. Loads it.
     *
     * @return a clause; empty if it can
     */
    public static Optional<String> whyNot() {
        if (!Boolean.parseBoolean(System.getProperty(PROPERTY, "true"))) {
            return Optional.of("the system property " + PROPERTY + " is false");
        }
        return Library.HERE.problem;
    }

    /** The best instruction set of this processor, as {@link #INSTRUCTIONS} has them; 0 without the library. */
    static int bestInstructionSet() {
        return Library.HERE.instructionSet;
    }

    /**
     * The instruction set that the library uses.
     *
     * @return for people to read
     * @throws IllegalStateException unless it {@link #isAvailable}
     */
    public static String instructions() {
        if (bestInstructionSet() == 0) {
            throw new IllegalStateException("kernels must be available, got none");
        }
        return INSTRUCTIONS.get(bestInstructionSet() - 1);
    }

    /**
     * What {@link #bestInstructionSet} is, of a library that is loaded. A set contains those before it. For that of AMX
     * it asks the operating system to save the registers of AMX for this process.
     */
    private static native int instructionSet();

    /**
     * Allocates a model and starts its threads.
     *
     * @param sizes V, context length, C, L, H, F, tokens in a page, pages, whether the head is tied, weights (0:
     *     float32, 1: bfloat16, 2: int8), ordinal of the activation, threads, instruction set
     * @param scoreScales [L], what the attention scores of a layer are multiplied by
     * @return the model, to be freed by {@link #close}; 0 if memory ran out
     */
    static native long create(int[] sizes, float epsilon, float[] scoreScales);

    /**
     * Copies one weight.
     *
     * @param parameter its number, see {@link CpuGpt2}
     * @param layer 0 for those of no layer
     * @param elements direct, from its beginning, row-major; must stay reachable during the call
     * @param dtype of the elements: 0: F32, 1: F16, 2: BF16, 3: F64
     * @param outFirst whether a matrix of a layer is {@code [out, in]}, not {@code [in, out]}
     * @return false if memory ran out
     */
    static native boolean load(long model, int parameter, int layer, ByteBuffer elements, int dtype, boolean outFirst);

    /**
     * Computes a step, and keeps its wanted rows until the next.
     *
     * @param plan as {@link StepPlan} says
     * @param length how many numbers of the plan count
     * @return how many wanted rows; -1 if memory ran out, or the rows are more than 2,097,151
     */
    static native int step(long model, int[] plan, int length);

    /**
     * Computes logits of the last step.
     *
     * @param first of its wanted rows
     * @param count of rows
     * @param target direct, at least {@code [count, VP]} float32 in native byte order; elements from V on are undefined
     */
    static native void logits(long model, int first, int count, ByteBuffer target);

    /** Bytes of weights that a step reads. */
    static native long weightBytes(long model);

    /** Reads the memory of the weights once, by all threads; returns bytes in a second. */
    static native double readBandwidth(long model);

    /** Ends the threads and frees all memory. */
    static native void close(long model);
}
