package io.github.loomtorch.torch.cuda;

import static io.github.loomtorch.torch.cuda.KernelConstant.*;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.torch.cuda.ProductKernel.Family;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * The kernels of a model on a GPU: which modules there are, and the options of each. Pure arithmetic: it needs neither
 * a GPU nor native libraries. Immutable.
 */
final class KernelSet {
    /** Threads of a block of {@code sample.cu}, for a row each ... */
    static final int SAMPLE_THREADS = 1024;
    /** ... or, for more rows than the GPU has smCount, so few that two blocks fit into one. */
    static final int SAMPLE_MANY_THREADS = 512;
    /** Threads of a block of {@code score.cu}. */
    static final int SCORE_THREADS = 512;

    private static final int MAX_FLASH_HEAD = 256; // head size of ATen's flash attention

    private final Gpt2Config config;
    private final Dtype dtype;
    private final boolean int8Weights;
    private final GpuModel gpu;
    private final AttentionShape attention;
    private final LmHeadShape lmHead;
    private final ProductKernels products;
    private final Map<KernelConstant, String> values = new EnumMap<>(KernelConstant.class);

    /**
     * Computes the set.
     *
     * @param dtype of weights, cache and computation, not AUTO
     * @param pageSize tokens of a page
     * @param int8Weights whether few rows are multiplied by 8-bit weights
     */
    KernelSet(Gpt2Config config, Dtype dtype, int pageSize, boolean int8Weights, GpuModel gpu) {
        this.config = config;
        this.dtype = dtype;
        this.int8Weights = int8Weights;
        this.gpu = gpu;
        int elementBytes = dtype == Dtype.FLOAT32 ? 4 : 2;
        attention = new AttentionShape(config.headCount(), config.headSize(), elementBytes, pageSize);
        lmHead = new LmHeadShape(config.hiddenSize());
        products = new ProductKernels(config, gpu, int8Weights);
        for (KernelConstant constant : KernelConstant.values()) {
            constant.fixed().ifPresent(value -> values.put(constant, value));
        }
        put(ELEMENT_BITS, 8 * elementBytes);
        put(BFLOAT16, dtype == Dtype.BFLOAT16 ? 1 : 0);
        put(HIDDEN, config.hiddenSize());
        put(HEAD_SIZE, config.headSize());
        put(PAGE_SIZE, pageSize);
        put(VOCAB, config.vocabSize());
        put(PADDED_VOCAB, config.paddedVocabSize());
        put(EPSILON_BITS, Float.floatToIntBits((float) config.layerNormEpsilon()));
        values.put(ACTIVATION, config.activation().name());
        put(ROW_SIZE, StepInput.rowSize(Math.ceilDiv(config.contextLength(), pageSize)));
        put(PERSISTENT_HEADS, attention.persistentHeads());
        put(PERSISTENT_TOKENS, attention.persistentTokens());
        put(PLAN_STATE, attention.planState());
        put(INT8_HEAD, int8Weights ? 1 : 0);
        put(HEAD_STRIDE, lmHead.stride());
    }

    private void put(KernelConstant constant, int value) {
        values.put(constant, Integer.toString(value));
    }

    Gpt2Config config() {
        return config;
    }

    GpuModel gpu() {
        return gpu;
    }

    AttentionShape attention() {
        return attention;
    }

    LmHeadShape lmHead() {
        return lmHead;
    }

    ProductKernels products() {
        return products;
    }

    boolean int8Weights() {
        return int8Weights;
    }

    /** Whether the attention kernels are made for the model's heads; without them there are no kernels at all. */
    boolean isSupported() {
        return attention.isSupported();
    }

    /**
     * Whether norms, products and head have kernels, and large prefills run here: for 16-bit elements, from compute
     * capability 8.0 on. Else the program's own methods compute them.
     */
    boolean isFused() {
        return dtype != Dtype.FLOAT32
                && gpu.capability() >= 80
                && config.headSize() % 8 == 0
                && config.headSize() <= MAX_FLASH_HEAD
                && config.innerSize() % 32 == 0
                && lmHead.isSupported();
    }

    /** Whether chunked prefill has an attention kernel of its own. */
    boolean hasPrefillAttention() {
        return dtype != Dtype.FLOAT32
                && gpu.capability() >= 80
                && config.headSize() == AttentionShape.PREFILL_HEAD_SIZE;
    }

    KernelModule embedding() {
        return module(KernelFile.EMBEDDING);
    }

    KernelModule kvCache() {
        return module(KernelFile.KV_CACHE);
    }

    KernelModule pagedAttention() {
        return module(KernelFile.ATTENTION_PAGED);
    }

    /** Only if {@link #hasPrefillAttention()}. */
    KernelModule prefillAttention() {
        return module(KernelFile.ATTENTION_PREFILL);
    }

    /** Only from compute capability 9.0 on. */
    KernelModule persistentAttention() {
        return module(KernelFile.ATTENTION_PERSISTENT);
    }

    /** This and the next three only if {@link #isFused()}. */
    KernelModule layerNorm() {
        return module(KernelFile.LAYER_NORM);
    }

    KernelModule lmHeadModule() {
        return module(KernelFile.LM_HEAD);
    }

    KernelModule skinnyGemm() {
        return module(KernelFile.GEMM_SKINNY, "", Map.of(KERNELS, products.definitions(Family.SKINNY)));
    }

    /** Only on Hopper. */
    KernelModule wgmmaGemm() {
        return module(KernelFile.GEMM_WGMMA, "", Map.of(KERNELS, products.definitions(Family.WGMMA)));
    }

    /** Sampling by blocks of so many threads. */
    KernelModule sample(int threads) {
        return module(
                KernelFile.SAMPLE, "_" + threads, Map.of(KernelConstant.SAMPLE_THREADS, Integer.toString(threads)));
    }

    /**
     * Scores.
     *
     * @param wide whether the logits are float32; else they are of the model's type
     */
    KernelModule score(boolean wide) {
        String bits = wide ? "32" : Objects.requireNonNull(values.get(ELEMENT_BITS));
        return module(
                KernelFile.SCORE,
                "_" + bits,
                Map.of(
                        ELEMENT_BITS,
                        bits,
                        BFLOAT16,
                        wide ? "0" : Objects.requireNonNull(values.get(BFLOAT16)),
                        KernelConstant.SAMPLE_THREADS,
                        Integer.toString(SCORE_THREADS)));
    }

    /** All modules that a model can load. */
    List<KernelModule> modules() {
        List<KernelModule> modules = new ArrayList<>();
        if (!isSupported()) {
            return modules;
        }
        modules.addAll(List.of(embedding(), kvCache(), pagedAttention()));
        if (hasPrefillAttention()) {
            modules.add(prefillAttention());
        }
        if (gpu.isAtLeast90()) {
            modules.add(persistentAttention());
        }
        if (isFused()) {
            modules.addAll(List.of(layerNorm(), skinnyGemm()));
            if (gpu.isHopper()) {
                modules.add(wgmmaGemm());
            }
            modules.add(lmHeadModule());
        }
        modules.addAll(List.of(sample(SAMPLE_THREADS), sample(SAMPLE_MANY_THREADS), score(true)));
        if (dtype != Dtype.FLOAT32) {
            modules.add(score(false));
        }
        return modules;
    }

    private KernelModule module(KernelFile file) {
        return module(file, "", Map.of());
    }

    private KernelModule module(KernelFile file, String suffix, Map<KernelConstant, String> own) {
        List<String> options = new ArrayList<>();
        // wgmma is in Hopper's own instruction set, which no later GPU has.
        options.add("-arch=" + gpu.architecture() + (file == KernelFile.GEMM_WGMMA ? "a" : ""));
        if (file == KernelFile.SAMPLE || file == KernelFile.SCORE) {
            options.add("--fmad=false"); // so that weights are those of the reference, bit for bit
        }
        for (KernelConstant constant : file.constants()) {
            String value = own.containsKey(constant) ? own.get(constant) : values.get(constant);
            options.add(constant.option(Objects.requireNonNull(value)));
        }
        return new KernelModule(file.fileName().replace(".cu", "") + suffix, file, options);
    }
}
