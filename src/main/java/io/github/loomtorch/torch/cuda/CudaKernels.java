package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.natives.Resources;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.bytedeco.cuda.cudart.CUfunc_st;
import org.bytedeco.cuda.cudart.CUlaunchAttribute;
import org.bytedeco.cuda.cudart.CUlaunchConfig;
import org.bytedeco.cuda.cudart.CUmod_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.cuda.global.nvrtc;
import org.bytedeco.cuda.nvrtc._nvrtcProgram;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.javacpp.SizeTPointer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One CUDA C++ file of this package, compiled at run time by NVRTC for the device at hand and loaded. Compiled code is
 * kept in {@code ~/.cache/loomtorch}, under a hash of all that goes into it.
 */
final class CudaKernels implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(CudaKernels.class);
    private static final Pattern INCLUDE = Pattern.compile("#include \"(\\w+\\.cuh)\"\n");

    /** The compiler or the source does not fit the machine: the model can run without the kernels. */
    static final class Unavailable extends TorchException {
        private static final long serialVersionUID = 1L;

        Unavailable(String message) {
            super(message);
        }

        Unavailable(String message, Throwable cause) {
            super(message, cause);
        }
    }

    private final Resources resources = new Resources();
    private final CUmod_st module;
    private final CUstream_st stream;
    private final boolean overlapping;

    private CudaKernels(CUmod_st module, CUstream_st stream, boolean overlapping) {
        this.module = module;
        resources.onClose(() -> cudart.cuModuleUnload(module));
        this.stream = stream;
        this.overlapping = overlapping;
    }

    /**
     * Compiles, or takes what was compiled before.
     *
     * @param file resource of this package
     * @param architecture such as {@code sm_90}, or {@code sm_90a} for what no later GPU has
     * @param stream where the kernels run
     * @param macros numbers by name; those that the source and the options do not name are left out
     * @param options more compiler options
     * @throws Unavailable if NVRTC is missing or refuses the source
     * @throws TorchException if the compiled code cannot be loaded
     */
    static CudaKernels load(
            String file, String architecture, CUstream_st stream, Map<String, Integer> macros, String... options) {
        String source = source(file);
        List<String> arguments = new ArrayList<>(List.of("-arch=" + architecture, "-default-device"));
        arguments.addAll(List.of(options));
        arguments.addAll(definitions(macros, source + " " + String.join(" ", options)));
        try (PointerScope scope = new PointerScope()) {
            loadNvrtc();
            Path cached = Path.of(
                    System.getProperty("user.home", "."), ".cache", "loomtorch", hash(source, arguments) + ".cubin");
            byte[] code = read(cached);
            if (code.length == 0) {
                code = compile(file, source, arguments);
                store(code, cached);
            }
            CUmod_st module = new CUmod_st();
            Cuda.check(cudart.cuModuleLoadData(module, new BytePointer(code)), "cuModuleLoadData of " + file);
            return new CudaKernels(module, stream, isAtLeast90(architecture));
        }
    }

    /** Whether the GPU has clusters of blocks, and kernels that begin while the one before them runs. */
    static boolean isAtLeast90(String architecture) {
        return Integer.parseInt(architecture.replaceAll("\\D", "")) >= 90;
    }

    /** Of the macros that a text names: what does not depend on the others is compiled once for all models. */
    static List<String> definitions(Map<String, Integer> macros, String text) {
        return macros.entrySet().stream()
                .filter(macro -> Pattern.compile("(?<![\\w\"])" + macro.getKey() + "(?![\\w\"])")
                        .matcher(text)
                        .find()) // not extern "C"
                .map(macro -> "-D" + macro.getKey() + "=" + macro.getValue())
                .toList();
    }

    private static byte[] read(Path file) {
        try {
            return Files.isReadable(file) ? Files.readAllBytes(file) : new byte[0];
        } catch (IOException e) {
            LOG.info("kept kernels could not be read: {}", e.toString());
            return new byte[0];
        }
    }

    private static void loadNvrtc() {
        try {
            Loader.load(nvrtc.class);
        } catch (LinkageError e) {
            throw new Unavailable(
                    "NVRTC could not be loaded: " + Libtorch.firstLine(e)
                            + "; put org.bytedeco:cuda with this platform's classifier on the class path and CUDA's libnvrtc on the library path",
                    e);
        }
    }

    private static byte[] compile(String file, String source, List<String> arguments) {
        long start = System.nanoTime();
        _nvrtcProgram program = new _nvrtcProgram();
        Cuda.checkNvrtc(
                nvrtc.nvrtcCreateProgram(
                        program,
                        new BytePointer(source),
                        new BytePointer(file),
                        0,
                        (PointerPointer<?>) null,
                        (PointerPointer<?>) null),
                "nvrtcCreateProgram of " + file);
        int result = nvrtc.nvrtcCompileProgram(
                program, arguments.size(), new PointerPointer<>(arguments.toArray(String[]::new)));
        if (result != nvrtc.NVRTC_SUCCESS) {
            SizeTPointer size = new SizeTPointer(1);
            nvrtc.nvrtcGetProgramLogSize(program, size);
            BytePointer log = new BytePointer(size.get());
            nvrtc.nvrtcGetProgramLog(program, log);
            nvrtc.nvrtcDestroyProgram(program);
            throw new Unavailable(file + " could not be compiled with " + arguments + ": " + log.getString());
        }
        SizeTPointer size = new SizeTPointer(1);
        Cuda.checkNvrtc(nvrtc.nvrtcGetCUBINSize(program, size), "nvrtcGetCUBINSize");
        byte[] code = new byte[(int) size.get()];
        Cuda.checkNvrtc(nvrtc.nvrtcGetCUBIN(program, code), "nvrtcGetCUBIN");
        nvrtc.nvrtcDestroyProgram(program);
        LOG.info("compiled {} in {} ms", file, (System.nanoTime() - start) / 1_000_000);
        return code;
    }

    private static void store(byte[] code, Path file) {
        try {
            Files.createDirectories(file.getParent());
            Path temporary = Files.createTempFile(file.getParent(), "kernel", ".tmp");
            try {
                Files.write(temporary, code);
                Files.move(temporary, file, StandardCopyOption.ATOMIC_MOVE);
            } finally {
                Files.deleteIfExists(temporary);
            }
        } catch (IOException e) {
            LOG.info("compiled kernels are not kept: {}", e.toString());
        }
    }

    private static String hash(String source, List<String> arguments) {
        int[] major = new int[1];
        int[] minor = new int[1];
        int[] driver = new int[1];
        Cuda.checkNvrtc(nvrtc.nvrtcVersion(major, minor), "nvrtcVersion");
        Cuda.check(cudart.cudaDriverGetVersion(driver), "cudaDriverGetVersion");
        String all = source + arguments + major[0] + "." + minor[0] + " " + driver[0];
        try {
            return HexFormat.of()
                    .formatHex(MessageDigest.getInstance("SHA-256").digest(all.getBytes(StandardCharsets.UTF_8)));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every JVM has it
        }
    }

    /** With what it includes in place. */
    static String source(String name) {
        return INCLUDE.matcher(resource(name))
                .replaceAll(include -> Matcher.quoteReplacement(source(include.group(1))));
    }

    private static String resource(String name) {
        try (InputStream in = CudaKernels.class.getResourceAsStream(name)) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A kernel that begins when all before it on the stream is done. */
    Kernel kernel(String name) {
        return new Kernel(name, false);
    }

    /**
     * A kernel that may begin, where the GPU can, while the kernel just before it runs: it waits for it by itself
     * ({@code awaitPrevious}).
     */
    Kernel overlappingKernel(String name) {
        return new Kernel(name, overlapping);
    }

    /**
     * One kernel, to be launched on the stream. A launch reads its arguments at once, so that each uses the same memory
     * for them.
     */
    final class Kernel {
        private static final int MOST_ARGUMENTS = 16;

        private final String name;
        private final CUfunc_st function = new CUfunc_st();
        private final CUlaunchConfig launch = resources.keep(new CUlaunchConfig());
        private final CUlaunchAttribute overlap = resources.keep(new CUlaunchAttribute());
        private final BytePointer memory = resources.keep(new BytePointer(MOST_ARGUMENTS * Long.BYTES));
        private final ByteBuffer values = memory.asByteBuffer().order(ByteOrder.nativeOrder());
        private final PointerPointer<Pointer> pointers = resources.keep(new PointerPointer<>(MOST_ARGUMENTS));

        private Kernel(String name, boolean overlaps) {
            this.name = name;
            Cuda.check(cudart.cuModuleGetFunction(function, module, name), "cuModuleGetFunction of " + name);
            launch.blockDimY(1).blockDimZ(1).sharedMemBytes(0).hStream(stream).numAttrs(0);
            if (overlaps) {
                overlap.id(cudart.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
                overlap.value().programmaticStreamSerializationAllowed(1);
                launch.attrs(overlap).numAttrs(1);
            }
            for (int i = 0; i < MOST_ARGUMENTS; i++) {
                pointers.put(i, memory.getPointer(i * Long.BYTES));
            }
        }

        /**
         * Gives each block so much shared memory beside what the source names; it may be more than what every GPU
         * gives.
         */
        Kernel withSharedBytes(int bytes) {
            launch.sharedMemBytes(bytes);
            Cuda.check(
                    cudart.cuFuncSetAttribute(function, cudart.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes),
                    "cuFuncSetAttribute of " + name);
            return this;
        }

        /** How many of its blocks, of so many threads, a multiprocessor runs at once, if it runs nothing else. */
        int blocksPerMultiprocessor(int threads) {
            int[] blocks = new int[1];
            Cuda.check(
                    cudart.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                            blocks, function, threads, launch.sharedMemBytes()),
                    "cuOccupancyMaxActiveBlocksPerMultiprocessor of " + name);
            return blocks[0];
        }

        /**
         * Launches.
         *
         * @param arguments device addresses as {@link Long}, {@link Float}, {@link Integer}, or a {@link Pointer} to
         *     what is taken by value
         */
        void launch(int gridX, int gridY, int gridZ, int block, Object... arguments) {
            for (int i = 0; i < arguments.length; i++) {
                int at = i * Long.BYTES;
                switch (arguments[i]) {
                    case Float value -> values.putFloat(at, value);
                    case Integer value -> values.putInt(at, value);
                    case Pointer value -> pointers.put(i, value);
                    default -> values.putLong(at, (Long) arguments[i]);
                }
            }
            launch.gridDimX(gridX).gridDimY(gridY).gridDimZ(gridZ).blockDimX(block);
            Cuda.check(
                    cudart.cuLaunchKernelEx(launch, function, pointers, (PointerPointer<?>) null),
                    "cuLaunchKernelEx of " + name);
        }
    }

    @Override
    public void close() {
        resources.close();
    }
}
