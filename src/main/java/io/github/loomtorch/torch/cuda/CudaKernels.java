package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.Resources;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.bytedeco.cuda.cudart.CUfunc_st;
import org.bytedeco.cuda.cudart.CUlaunchAttribute;
import org.bytedeco.cuda.cudart.CUlaunchConfig;
import org.bytedeco.cuda.cudart.CUmod_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch_cuda;

/** A module of compiled kernels, loaded into a GPU. Confined to the engine thread. */
final class CudaKernels implements AutoCloseable {
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

    /** The model of a GPU. */
    static GpuModel gpu(Device device) {
        try (PointerScope scope = new PointerScope()) {
            var properties = torch_cuda.getDeviceProperties(device.index());
            return new GpuModel("sm_" + properties.major() + properties.minor(), properties.multiProcessorCount());
        }
    }

    /**
     * Loads a model's modules into the current GPU. What the cache lacks is compiled at once, by as many threads as
     * there are processors.
     */
    static final class Loader {
        private final KernelSet set;
        private final KernelCache cache;
        private final CUstream_st stream;
        private final String compiler; // its version
        private final Map<String, CompletableFuture<byte[]>> compiling = new HashMap<>(); // by key

        /**
         * Loads NVRTC and begins to compile.
         *
         * @param set of the model on this GPU
         * @param cache of compiled code
         * @param stream where the kernels run
         * @throws KernelsUnavailableException if NVRTC is missing
         */
        Loader(KernelSet set, KernelCache cache, CUstream_st stream) {
            KernelCompiler.load();
            this.set = set;
            this.cache = cache;
            this.stream = stream;
            compiler = KernelCompiler.version();
            for (KernelModule module : set.modules()) {
                String key = module.key(compiler);
                if (cache.read(key).length == 0) {
                    compiling.put(key, CompletableFuture.supplyAsync(() -> compile(key, module)));
                }
            }
        }

        KernelSet set() {
            return set;
        }

        CUstream_st stream() {
            return stream;
        }

        private byte[] compile(String key, KernelModule module) {
            return cache.compile(key, () -> KernelCompiler.compile(module));
        }

        /**
         * Takes a module's code from the compiler or the cache, and loads it.
         *
         * @return to be closed by the caller
         * @throws KernelsUnavailableException if NVRTC refuses the source
         * @throws TorchException if the compiled code cannot be loaded
         */
        CudaKernels load(KernelModule module) {
            String key = module.key(compiler);
            CompletableFuture<byte[]> code = compiling.remove(key);
            CUmod_st loaded = code == null
                    ? cache.load(key, () -> KernelCompiler.compile(module), kept -> loadModule(module.name(), kept))
                    : loadModule(module.name(), join(code));
            return new CudaKernels(loaded, stream, set.gpu().isAtLeast90());
        }

        private static byte[] join(CompletableFuture<byte[]> code) {
            try {
                return code.join();
            } catch (CompletionException e) {
                if (e.getCause() instanceof RuntimeException cause) {
                    throw cause;
                }
                throw e;
            }
        }

        private static CUmod_st loadModule(String name, byte[] code) {
            CUmod_st module = new CUmod_st();
            try (PointerScope scope = new PointerScope()) {
                Cuda.check(cudart.cuModuleLoadData(module, new BytePointer(code)), "cuModuleLoadData of " + name);
            }
            return module;
        }
    }

    /** A kernel that begins when all before it on the stream has finished. */
    Kernel kernel(String name) {
        return new Kernel(name, false);
    }

    /**
     * A kernel that may begin, where the GPU can, while the previous kernel runs (programmatic dependent launch): it
     * waits for it by itself, by {@code awaitPrevious()}.
     */
    Kernel overlappingKernel(String name) {
        return new Kernel(name, overlapping);
    }

    /**
     * One kernel, to be launched on the stream. A launch reads its arguments at once, so all launches share the memory
     * for them.
     */
    final class Kernel {
        private static final int MAX_ARGUMENTS = 16;

        private final String name;
        private final CUfunc_st function = new CUfunc_st();
        private final CUlaunchConfig launch = resources.keep(new CUlaunchConfig());
        private final CUlaunchAttribute overlap = resources.keep(new CUlaunchAttribute());
        private final BytePointer memory = resources.keep(new BytePointer(MAX_ARGUMENTS * Long.BYTES));
        private final ByteBuffer values = memory.asByteBuffer().order(ByteOrder.nativeOrder());
        private final PointerPointer<Pointer> pointers = resources.keep(new PointerPointer<>(MAX_ARGUMENTS));

        private Kernel(String name, boolean overlaps) {
            this.name = name;
            Cuda.check(cudart.cuModuleGetFunction(function, module, name), "cuModuleGetFunction of " + name);
            launch.blockDimY(1).blockDimZ(1).sharedMemBytes(0).hStream(stream).numAttrs(0);
            if (overlaps) {
                overlap.id(cudart.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
                overlap.value().programmaticStreamSerializationAllowed(1);
                launch.attrs(overlap).numAttrs(1);
            }
            for (int i = 0; i < MAX_ARGUMENTS; i++) {
                pointers.put(i, memory.getPointer((long) i * Long.BYTES));
            }
        }

        /** Sets the dynamic shared memory of a block; it may be more than what blocks get by default. */
        Kernel withSharedBytes(int bytes) {
            launch.sharedMemBytes(bytes);
            Cuda.check(
                    cudart.cuFuncSetAttribute(function, cudart.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes),
                    "cuFuncSetAttribute of " + name);
            return this;
        }

        /** How many of its blocks, of so many threads, an SM runs at once, if it runs nothing else. */
        int blocksPerSm(int threads) {
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
