package io.github.loomtorch.torch;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.sampling.Sampler;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.Method;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * GPT-2 as a TorchScript program on any device that libtorch knows: operator by operator, sampling on the host. Owns the weights and the
 * KV cache. Confined to the engine thread.
 */
public final class TorchScriptGpt2 implements CausalLm {
    private static final Logger LOG = LoggerFactory.getLogger(TorchScriptGpt2.class);

    private final Gpt2Config config;
    private final TorchOptions options;
    private final List<Pointer> owned = new ArrayList<>();
    private final Device device;
    private final ScalarType dtype;
    private final KvCache cache;
    private final Method decode;
    private final Method prefill;
    private final Sampler sampler;
    private final float[] logits;
    private List<Chunk> launched = List.of();

    private interface Loader {
        JitModule load(Device device, ScalarType dtype) throws IOException;
    }

    private TorchScriptGpt2(Gpt2Config config, TorchOptions options, Loader loader) throws IOException {
        Libtorch.load();
        this.config = config;
        this.options = options;
        this.sampler = new Sampler(config.vocabSize());
        this.logits = new float[config.vocabSize()];
        try (TensorScope scope = new TensorScope()) {
            device = keep(device(options.device()));
            dtype = options.dtype().resolve(device.is_cuda());
            JitModule module = keep(loader.load(device, dtype));
            decode = keep(module.get_method("decode"));
            prefill = keep(module.get_method("prefill"));
            cache = new KvCache(config, KvCache.pagesFor(options.maxBatchSize(), config.contextLength()), device, dtype);
            keep(cache.tensor());
        } catch (RuntimeException e) {
            close();
            throw Failures.explain("loading the model", e);
        } catch (IOException e) {
            close();
            throw e;
        }
        LOG.info("GPT-2 with {} layers of width {} on {} in {}, {} KV pages of {} tokens", config.layerCount(), config.hiddenSize(),
                device.str().getString(), dtype, cache.pageCount(), KvCache.PAGE_SIZE);
    }

    /**
     * Loads a model; exports its {@code model.ts} first if need be.
     *
     * @param directory {@code config.json} and weights
     * @param options device, dtype, batch size
     * @return the model, to be closed by the caller
     * @throws IOException if a file is missing, malformed or does not fit
     * @throws TorchException if libtorch or CUDA is missing, or memory runs out
     */
    public static TorchScriptGpt2 load(ModelDirectory directory, TorchOptions options) throws IOException {
        return new TorchScriptGpt2(
                directory.config(), options, (device, dtype) -> TorchScriptExporter.load(directory, device, dtype));
    }

    /**
     * A model with random weights, to measure speed without a download.
     *
     * @param config its shape
     * @param seed of the weights
     * @param options device, dtype, batch size
     * @return the model, to be closed by the caller
     * @throws TorchException if libtorch or CUDA is missing, or memory runs out
     */
    public static TorchScriptGpt2 random(Gpt2Config config, long seed, TorchOptions options) {
        try {
            return new TorchScriptGpt2(
                    config, options, (device, dtype) -> TorchScriptExporter.random(config, seed, device, dtype));
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e); // reads no file
        }
    }

    private static Device device(String name) {
        int count = Libtorch.cudaDeviceCount();
        if (name.equals("cpu") || name.equals("auto") && count == 0) {
            return new Device(DeviceType.CPU);
        }
        if (count == 0) {
            throw new TorchException("CUDA is not available: libtorch "
                    + (torch.hasCUDA() ? "found no working GPU; check the driver, or set device=cpu"
                            : "was loaded without CUDA; put its GPU natives on the class path (Maven profile gpu), or set device=cpu"));
        }
        int index = name.contains(":") ? Integer.parseInt(name.substring(name.indexOf(':') + 1)) : 0;
        if (index >= count) {
            throw new TorchException("device must be one of the " + count + " GPUs, cuda:0 to cuda:" + (count - 1) + ", got " + name);
        }
        return new Device(DeviceType.CUDA, (byte) index);
    }

    /**
     * Where it runs.
     *
     * @return {@code cpu} or {@code cuda:n}
     */
    public String device() {
        return device.is_cuda() ? "cuda:" + device.index() : "cpu";
    }

    /**
     * The number format that it computes in.
     *
     * @return not {@link Dtype#AUTO}
     */
    public Dtype dtype() {
        return dtype == ScalarType.Half ? Dtype.FLOAT16 : dtype == ScalarType.BFloat16 ? Dtype.BFLOAT16 : Dtype.FLOAT32;
    }

    @Override
    public int vocabSize() {
        return config.vocabSize();
    }

    @Override
    public int contextLength() {
        return config.contextLength();
    }

    @Override
    public int endOfTextId() {
        return config.endOfTextId();
    }

    @Override
    public int maxBatchSize() {
        return options.maxBatchSize();
    }

    @Override
    public int pageSize() {
        return KvCache.PAGE_SIZE;
    }

    @Override
    public int pageCount() {
        return cache.pageCount();
    }

    @Override
    public void launch(List<Chunk> chunks) {
        launched = chunks;
    }

    @Override
    public void await() {
        int decodes = 0;
        while (decodes < launched.size() && launched.get(decodes).count() == 1) {
            decodes++;
        }
        configureThread();
        run("decode", launched.subList(0, decodes), this::decode);
        run("prefill", launched.subList(decodes, launched.size()), this::prefill);
    }

    /** Settings that libtorch keeps for each thread. */
    private void configureThread() {
        torch.setGraphExecutorOptimize(false); // the optimiser would compile anew for each shape
        if (!device.is_cuda() && dtype == ScalarType.Float) {
            // OpenBLAS, which does the work here, has threads of its own, and OpenMP's would spin on the cores that those need.
            torch.set_num_threads(1);
        }
    }

    private interface Forward {
        Tensor apply(List<Chunk> chunks);
    }

    private void run(String phase, List<Chunk> chunks, Forward forward) {
        if (chunks.isEmpty()) {
            return;
        }
        try (TensorScope scope = new TensorScope()) {
            Tensor result = forward.apply(chunks).cpu().contiguous(); // [M, V] float32
            FloatPointer rows = result.data_ptr_float();
            int row = 0;
            for (Chunk chunk : chunks) {
                if (chunk.samples()) {
                    rows.position((long) row++ * logits.length).get(logits);
                    sample(chunk);
                }
            }
        } catch (RuntimeException e) {
            throw Failures.explain(
                    "step of phase=" + phase + " sequences=" + chunks.size() + " device=" + options.device() + " dtype=" + dtype, e);
        }
    }

    private void sample(Chunk chunk) {
        Sequence sequence = chunk.sequence();
        try {
            int token = sampler.sample(
                    logits, sequence.sampling(), sequence.seed(), sequence.tokens(), sequence.promptLength(), sequence.length());
            if (sequence.sampling().topLogprobs() < 0) {
                chunk.sampled(token);
            } else {
                chunk.sampled(token, sampler.logprobs(logits, token, sequence.sampling().topLogprobs()));
            }
        } catch (ArithmeticException e) {
            chunk.failed(e);
        }
    }

    private Tensor decode(List<Chunk> chunks) {
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
            Chunk chunk = chunks.get(i);
            Sequence sequence = chunk.sequence();
            int position = chunk.start();
            ids[i] = sequence.tokens()[position];
            positions[i] = position;
            writeRows[i] = KvCache.row(sequence, position);
            for (int j = 0; j < s; j++) {
                readRows[i * s + j] = j <= position ? KvCache.row(sequence, j) : cache.zeroRow();
            }
        }
        Tensor all = decode.apply(new IValueVector(
                        input(ids, b),
                        input(positions, b),
                        input(writeRows, b),
                        input(readRows, b, s),
                        new IValue(cache.tensor())))
                .toTensor(); // [B, V]
        int sampling = (int) chunks.stream().filter(Chunk::samples).count();
        return sampling == b ? all : all.index_select(0, tensor(samplingRows(chunks), sampling));
    }

    private static long[] samplingRows(List<Chunk> chunks) {
        return java.util.stream.IntStream.range(0, chunks.size())
                .filter(i -> chunks.get(i).samples())
                .mapToLong(i -> i)
                .toArray();
    }

    private Tensor prefill(List<Chunk> chunks) {
        int n = chunks.stream().mapToInt(Chunk::count).sum();
        int s = chunks.stream().mapToInt(chunk -> chunk.start() + chunk.count()).sum();
        long[] ids = new long[n];
        long[] positions = new long[n];
        long[] writeRows = new long[n];
        long[] readRows = new long[s];
        long[] lengths = new long[2 * chunks.size()];
        List<Long> last = new ArrayList<>();
        int token = 0;
        int read = 0;
        for (int i = 0; i < chunks.size(); i++) {
            Chunk chunk = chunks.get(i);
            Sequence sequence = chunk.sequence();
            int end = chunk.start() + chunk.count();
            for (int position = chunk.start(); position < end; position++) {
                ids[token] = sequence.tokens()[position];
                positions[token] = position;
                writeRows[token++] = KvCache.row(sequence, position);
            }
            for (int position = 0; position < end; position++) {
                readRows[read++] = KvCache.row(sequence, position);
            }
            lengths[2 * i] = chunk.count();
            lengths[2 * i + 1] = end;
            if (chunk.samples()) {
                last.add((long) token - 1);
            }
        }
        long[] lastRows = last.stream().mapToLong(Long::longValue).toArray();
        return prefill.apply(new IValueVector(
                        input(ids, n),
                        input(positions, n),
                        input(writeRows, n),
                        input(readRows, s),
                        new IValue(hostTensor(lengths, chunks.size(), 2)),
                        input(lastRows, lastRows.length),
                        new IValue(cache.tensor())))
                .toTensor(); // [M, V]
    }

    private IValue input(long[] values, long... shape) {
        return new IValue(tensor(values, shape));
    }

    private static Tensor hostTensor(long[] values, long... shape) {
        return torch.from_blob(new LongPointer(values), shape, new TensorOptions(ScalarType.Long)); // memory of the step's scope
    }

    private Tensor tensor(long[] values, long... shape) {
        Tensor host = hostTensor(values, shape);
        return device.is_cuda() ? host.to(device, ScalarType.Long) : host;
    }

    /** Lets a native object outlive the scope that it was made in, until {@link #close()}. */
    private <P extends Pointer> P keep(P pointer) {
        pointer.retainReference();
        owned.add(pointer);
        return pointer;
    }

    @Override
    public void close() {
        owned.forEach(Pointer::releaseReference);
        owned.clear();
    }
}
