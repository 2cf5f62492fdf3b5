package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.torch.natives.Resources;
import io.github.loomtorch.torch.program.KvCache;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.util.Optional;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Attention of a step's rows over the paged KV cache, by the kernels that {@link AttentionChoice} chooses. Confined to
 * the engine thread.
 */
final class CudaAttention implements AutoCloseable {
    private static final int PREFILL_THREADS = 32 * AttentionShape.PREFILL_WARPS;

    private final TorchScriptProgram program;
    private final Gpt2Config config;
    private final AttentionShape shape;
    private final AttentionChoice choice;
    private final Resources resources = new Resources();
    private final CudaKernels.Kernel paged;
    private final Optional<CudaKernels.Kernel> splitKv;
    private final Optional<CudaKernels.Kernel> prefill;
    private final Optional<Persistent> persistent;

    /**
     * What PERSISTENT has.
     *
     * @param partial address of [items, H, D + 4] float32
     * @param done address of [items, H] int32
     */
    private record Persistent(CudaKernels.Kernel kernel, AttentionPlan plan, long partial, long done) {}

    /**
     * Loads the kernels.
     *
     * @param maxRows of a step
     * @param deterministic whether no row's result may depend on what other rows there are
     * @throws KernelsUnavailableException if the kernels cannot be compiled
     */
    CudaAttention(TorchScriptProgram program, CudaKernels.Loader loader, int maxRows, boolean deterministic) {
        this.program = program;
        config = program.config();
        KernelSet set = loader.set();
        shape = set.attention();
        GpuModel gpu = set.gpu();
        choice = new AttentionChoice(
                config.headCount(),
                config.contextLength(),
                shape.pagedKeys(),
                gpu.smCount(),
                gpu.isAtLeast90(),
                set.hasPrefillAttention());
        try {
            CudaKernels pagedModule = load(loader, set.pagedAttention());
            paged = pagedModule.overlappingKernel("paged_attention");
            splitKv = gpu.isAtLeast90()
                    ? Optional.of(pagedModule.overlappingKernel("paged_attention_split_kv"))
                    : Optional.empty();
            prefill = set.hasPrefillAttention()
                    ? Optional.of(load(loader, set.prefillAttention()).overlappingKernel("paged_attention_prefill"))
                    : Optional.empty();
            persistent = gpu.isAtLeast90()
                    ? Optional.of(persistent(load(loader, set.persistentAttention()), gpu, maxRows, deterministic))
                    : Optional.empty();
        } catch (RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    private CudaKernels load(CudaKernels.Loader loader, KernelModule module) {
        CudaKernels loaded = loader.load(module);
        resources.onClose(loaded::close);
        return loaded;
    }

    private Persistent persistent(CudaKernels module, GpuModel gpu, int maxRows, boolean deterministic) {
        CudaKernels.Kernel kernel =
                module.overlappingKernel("paged_attention_persistent").withSharedBytes(shape.persistentSharedBytes());
        AttentionPlan plan = new AttentionPlan(
                config.headCount() / shape.persistentHeads(),
                gpu.smCount() * kernel.blocksPerSm(shape.persistentThreads()),
                shape.persistentTokens(),
                !deterministic);
        long items = plan.capacity(maxRows);
        long heads = config.headCount();
        return new Persistent(
                kernel,
                plan,
                zeros(ScalarType.Float, items, heads, shape.planState()),
                zeros(ScalarType.Int, items, heads));
    }

    /** Their address. */
    private long zeros(ScalarType type, long... sizes) {
        TensorOptions options = new TensorOptions(type).device(new DeviceOptional(program.device()));
        return resources.keep(torch.zeros(sizes, options)).data_ptr().address();
    }

    /** What to launch for which step. */
    AttentionChoice choice() {
        return choice;
    }

    /** The plan that stands before a step's rows, if there is a kernel that follows one. */
    Optional<AttentionPlan> plan() {
        return persistent.map(Persistent::plan);
    }

    /**
     * Writes the rows' keys and values to the cache and attends to it.
     *
     * @param input address of the step's rows, before which the plan stands
     * @param qkv address of [count, 3C]
     * @param attended address of the result, [count, C]
     */
    void launch(AttentionChoice.Kind kind, int layer, int count, long input, long qkv, long attended) {
        KvCache cache = program.cache();
        long keys = cache.keysAddress(layer);
        long values = cache.valuesAddress(layer);
        float scale = scale(layer);
        int heads = config.headCount();
        switch (kind) {
            case PAGED -> paged.launch(heads, count, 1, pagedThreads(count), input, qkv, keys, values, scale, attended);
            case SPLIT_KV ->
                splitKv.orElseThrow()
                        .launch(
                                heads,
                                count,
                                AttentionShape.PAGED_CLUSTER,
                                AttentionShape.PAGED_THREADS,
                                input,
                                qkv,
                                keys,
                                values,
                                scale,
                                attended);
            case PERSISTENT -> launchPersistent(count, input, qkv, keys, values, scale, attended);
            case PREFILL -> launchPrefill(count, count, input, qkv, keys, values, scale, attended);
            case PREFILL_AND_PERSISTENT -> {
                launchPrefill(count, 0, input, qkv, keys, values, scale, attended);
                launchPersistent(count, input, qkv, keys, values, scale, attended);
            }
        }
    }

    private float scale(int layer) {
        double scale = config.scaleAttnWeights() ? 1 / Math.sqrt(config.headSize()) : 1;
        return (float) (config.scaleAttnByInverseLayerIdx() ? scale / (layer + 1) : scale);
    }

    /** Fewer threads a block where there are many blocks. */
    private int pagedThreads(int count) {
        int blocks = count * config.headCount();
        return blocks <= 192 ? AttentionShape.PAGED_THREADS : blocks <= 768 ? 128 : 64;
    }

    private void launchPersistent(int count, long input, long qkv, long keys, long values, float scale, long attended) {
        Persistent with = persistent.orElseThrow();
        with.kernel()
                .launch(
                        with.plan().blocks(),
                        1,
                        1,
                        shape.persistentThreads(),
                        input,
                        qkv,
                        keys,
                        values,
                        scale,
                        attended,
                        with.partial(),
                        with.done(),
                        with.plan().capacity(count));
    }

    /** With blocks for {@code decodeRows} of the rows beside the tiles: all, or none. */
    private void launchPrefill(
            int count, int decodeRows, long input, long qkv, long keys, long values, float scale, long attended) {
        prefill.orElseThrow()
                .launch(
                        config.headCount(),
                        Math.ceilDiv(count, AttentionShape.PREFILL_QUERIES) + decodeRows,
                        1,
                        PREFILL_THREADS,
                        input,
                        qkv,
                        keys,
                        values,
                        scale,
                        attended,
                        count);
    }

    @Override
    public void close() {
        resources.close();
    }
}
