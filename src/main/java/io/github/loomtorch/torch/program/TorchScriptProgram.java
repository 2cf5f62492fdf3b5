package io.github.loomtorch.torch.program;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.CpuThreads;
import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.CudaStreams;
import io.github.loomtorch.torch.natives.Failures;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.natives.Processor;
import io.github.loomtorch.torch.natives.Resources;
import io.github.loomtorch.torch.natives.TensorScope;
import java.io.IOException;
import java.nio.IntBuffer;
import java.util.List;
import java.util.Objects;
import java.util.stream.LongStream;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.SizeTPointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.Method;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A loaded {@code model.ts} with its KV cache on one device: calls its methods with the tensors that their contract
 * asks for. Owns the weights and the cache. Confined to the engine thread.
 */
public final class TorchScriptProgram implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(TorchScriptProgram.class);

    private final Gpt2Config config;
    private final Resources resources = new Resources();
    private final Device device;
    private final String deviceName;
    private final ScalarType dtype;
    private final @Nullable CUDAStream stream;
    private final JitModule module;
    private final KvCache cache;
    private final Method decode;
    private final Method prefill;
    private final Method head;
    private final boolean flash;
    private int threads; // of one operator, on a CPU
    private boolean streamReturned;

    /**
     * Loads the weights and allocates the KV cache.
     *
     * @param reservedBytes GPU memory to leave free beside the KV cache
     * @throws IOException if a file of the model cannot be read
     * @throws TorchException if libtorch or the device is missing, or memory runs out
     */
    public TorchScriptProgram(Gpt2Module model, ModelOptions options, long reservedBytes) throws IOException {
        Libtorch.load();
        config = model.config();
        try (TensorScope scope = new TensorScope()) {
            device = resources.keep(device(options.device()));
            deviceName = device.str().getString();
            boolean int8 = options.int8Weights() && !device.is_cuda();
            dtype = Libtorch.scalarType(device.is_cuda() ? options.dtype() : Processor.dtype(options.dtype(), int8));
            stream = device.is_cuda() ? CudaStreams.take(device.index()) : null;
            threads = CpuThreads.count(options.threads());
            configureThread();
            module = resources.keep(JitModules.load(model, device, dtype, int8));
            if (!device.is_cuda()) {
                boolean openBlas = dtype == ScalarType.Float && !module.hasattr(OneDnnLinear.ATTRIBUTE);
                CpuThreads.openBlas(openBlas ? threads : 1);
                threads = openBlas ? 1 : threads;
            }
            decode = method("decode");
            prefill = method("prefill");
            head = method("head");
            flash = device.is_cuda()
                    && dtype != ScalarType.Float
                    && config.headSize() % 8 == 0
                    && config.headSize() <= 256
                    && torch_cuda.getDeviceProperties(device.index()).major() >= 8;
            cache = new KvCache(config, options.pageSize(), pageCount(options, reservedBytes), device, dtype);
            resources.keep(cache.tensor());
        } catch (IOException | RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    private static Device device(String name) {
        int count = Libtorch.cudaDeviceCount();
        if (name.equals("cpu") || name.equals("auto") && count == 0) {
            return new Device(DeviceType.CPU);
        }
        if (count == 0) {
            throw new TorchException("CUDA is not available: " + Libtorch.whyNoCuda());
        }
        int index = name.contains(":") ? Integer.parseInt(name.substring(name.indexOf(':') + 1)) : 0;
        if (index >= count) {
            throw new TorchException(
                    "device must be one of the " + count + " GPUs, cuda:0 to cuda:" + (count - 1) + ", got " + name);
        }
        return new Device(DeviceType.CUDA, (byte) index);
    }

    private int pageCount(ModelOptions options, long reservedBytes) {
        int perSequence = KvCache.pagesPerSequence(config, options.pageSize());
        long wanted = (long) options.maxBatchSize() * perSequence;
        if (!device.is_cuda()) {
            return Math.toIntExact(wanted);
        }
        SizeTPointer free = new SizeTPointer(1);
        Cuda.check(cudart.cudaMemGetInfo(free, new SizeTPointer(1)), "cudaMemGetInfo");
        long pageBytes = KvCache.bytesPerPage(config, options.pageSize(), dtype);
        long fitting = (long) ((free.get() - reservedBytes) * options.kvCacheFraction()) / pageBytes;
        if (fitting < perSequence) {
            throw new TorchException("the KV cache needs " + perSequence * pageBytes
                    + " bytes for one sequence of " + config.contextLength() + " tokens, got " + free.get()
                    + " free on " + deviceName()
                    + " at kvCacheFraction=" + options.kvCacheFraction()
                    + "; free memory there or take a smaller dtype");
        }
        return (int) Math.min(wanted, fitting);
    }

    public Gpt2Config config() {
        return config;
    }

    public KvCache cache() {
        return cache;
    }

    public Device device() {
        return device;
    }

    public ScalarType dtype() {
        return dtype;
    }

    /** The stream of a program on a CUDA device; a program on the CPU has none. */
    public CUDAStream stream() {
        return Objects.requireNonNull(stream, "a program on the CPU has no stream");
    }

    public String hardware() {
        if (!device.is_cuda()) {
            return Processor.describe();
        }
        int[] driver = new int[1];
        int[] runtime = new int[1];
        Cuda.check(cudart.cudaDriverGetVersion(driver), "cudaDriverGetVersion");
        Cuda.check(cudart.cudaRuntimeGetVersion(runtime), "cudaRuntimeGetVersion");
        try (TensorScope scope = new TensorScope()) {
            return torch_cuda.getDeviceProperties(device.index()).name().getString() + ", CUDA driver "
                    + version(driver[0]) + ", runtime " + version(runtime[0]);
        }
    }

    private static String version(int code) {
        return code / 1000 + "." + code % 1000 / 10;
    }

    public String deviceName() {
        return deviceName;
    }

    public Method method(String name) {
        return resources.keep(module.get_method(name));
    }

    /** One of the module's parameters. */
    public Tensor parameter(String name) {
        return module.attr(name).toTensor();
    }

    /** Sets what libtorch keeps for each thread. */
    public void configureThread() {
        torch.setGraphExecutorOptimize(false); // the optimiser would compile anew for each shape
        if (device.is_cuda()) {
            Cuda.check(
                    cudart.cudaSetDevice(device.index()),
                    "cudaSetDevice"); // makes its context current, which kernels of our own need
            torch_cuda.setCurrentCUDAStream(stream);
        } else {
            torch.set_num_threads(threads);
        }
    }

    /**
     * Logits after one token of each chunk.
     *
     * @return [B, VP] dtype, on the device, owned by the caller's scope
     */
    public Tensor decode(List<Chunk> chunks) {
        int b = chunks.size();
        int s = 0; // most tokens that any of them reads
        for (Chunk chunk : chunks) {
            s = Math.max(s, chunk.start() + 1);
        }
        long[] ids = new long[b];
        long[] positions = new long[b];
        long[] writeRows = new long[b];
        long[] readRows = new long[b * s];
        for (int i = 0; i < b; i++) {
            Sequence sequence = chunks.get(i).sequence();
            int position = chunks.get(i).start();
            ids[i] = sequence.tokens()[position];
            positions[i] = position;
            writeRows[i] = cache.row(sequence, position);
            for (int j = 0; j < s; j++) {
                readRows[i * s + j] = j <= position ? cache.row(sequence, j) : cache.zeroRow();
            }
        }
        return decode.apply(new IValueVector(
                        input(ids, b),
                        input(positions, b),
                        input(writeRows, b),
                        input(readRows, b, s),
                        new IValue(cache.tensor())))
                .toTensor();
    }

    /**
     * Hidden states of the wanted positions, input of {@link #head}.
     *
     * @return [M, C] dtype, on the device, in the order of the chunks and positions; owned by the caller's scope
     */
    public Tensor prefill(List<Chunk> chunks) {
        PrefillShape shape = PrefillShape.of(chunks);
        int[] ints = new int[shape.ints()];
        shape.put(IntBuffer.wrap(ints), chunks, cache.pageSize());
        Tensor input = torch.from_blob(
                        new IntPointer(ints), new long[] {ints.length}, new TensorOptions(ScalarType.Int))
                .to(device, ScalarType.Long);
        long[] lengths = chunks.stream()
                .flatMapToLong(chunk -> LongStream.of(chunk.count(), chunk.end()))
                .toArray();
        return prefill.apply(new IValueVector(
                        new IValue(input.narrow(0, 0, shape.tokens())),
                        new IValue(input.narrow(0, shape.positionsAt(), shape.tokens())),
                        new IValue(input.narrow(0, shape.writeRowsAt(), shape.tokens())),
                        new IValue(input.narrow(0, shape.readRowsAt(), shape.readRows())),
                        new IValue(hostTensor(lengths, chunks.size(), 2)),
                        new IValue(input.narrow(0, shape.wantedAt(), shape.wanted())),
                        new IValue(cache.tensor()),
                        new IValue(flash)))
                .toTensor();
    }

    /**
     * Logits of hidden states.
     *
     * @param hidden [M, C] dtype, on the device
     * @return [M, VP] dtype, on the device; owned by the caller's scope
     */
    public Tensor head(Tensor hidden) {
        return head.apply(new IValueVector(new IValue(hidden))).toTensor();
    }

    /** Whether ATen's flash attention takes the heads. */
    public boolean flash() {
        return flash;
    }

    private IValue input(long[] values, long... shape) {
        Tensor host = hostTensor(values, shape);
        return new IValue(device.is_cuda() ? host.to(device, ScalarType.Long) : host);
    }

    private static Tensor hostTensor(long[] values, long... shape) {
        return torch.from_blob(
                new LongPointer(values), shape, new TensorOptions(ScalarType.Long)); // memory of the step's scope
    }

    @Override
    public void close() {
        boolean cuda = device != null && !device.isNull() && device.is_cuda();
        byte index = cuda ? device.index() : -1;
        resources.close();
        if (cuda) {
            try {
                torch_cuda.getAllocator().emptyCache(); // gives the memory back to the GPU, not only to libtorch
            } catch (RuntimeException e) { // of a GPU that is lost; the process keeps its memory
                LOG.warn("the memory of {} could not be given back: {}", deviceName, Failures.firstLine(e));
            }
        }
        if (cuda && stream != null && !streamReturned) {
            streamReturned = true;
            CudaStreams.giveBack(index, stream);
        }
    }
}
