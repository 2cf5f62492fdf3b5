package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.model.Activation;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.Dtype;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(20)
class KernelSetTest {
    private static KernelSet set(String shape, Dtype dtype, String architecture) {
        return new KernelSet(Gpt2Config.shape(shape), dtype, 16, false, new GpuModel(architecture, 132));
    }

    private static KernelSet withHeads(int hiddenSize, int heads, Dtype dtype) {
        Gpt2Config config = new Gpt2Config(
                1003, 1024, hiddenSize, 2, heads, 4 * hiddenSize, Activation.RELU, 1e-5, true, false, true, List.of());
        return new KernelSet(config, dtype, 16, false, new GpuModel("sm_90", 132));
    }

    @ParameterizedTest
    @CsvSource({
        "FLOAT16, sm_90, 'embedding kv_cache attention_paged attention_prefill attention_persistent layer_norm gemm_skinny"
                + " gemm_wgmma lm_head sample_1024 sample_512 score_32 score_16'",
        "FLOAT32, sm_90, embedding kv_cache attention_paged attention_persistent sample_1024 sample_512 score_32",
        "BFLOAT16, sm_80, 'embedding kv_cache attention_paged attention_prefill layer_norm gemm_skinny lm_head sample_1024"
                + " sample_512 score_32 score_16'",
        "FLOAT16, sm_75, embedding kv_cache attention_paged sample_1024 sample_512 score_32 score_16",
        "FLOAT16, sm_120, 'embedding kv_cache attention_paged attention_prefill attention_persistent layer_norm gemm_skinny"
                + " lm_head sample_1024 sample_512 score_32 score_16'"
    })
    void modulesByDtypeAndArchitecture(Dtype dtype, String architecture, String expected) {
        List<String> names = set("gpt2", dtype, architecture).modules().stream()
                .map(KernelModule::name)
                .toList();
        assertEquals(expected, String.join(" ", names));
    }

    @Test
    void theOptionsOfAModuleAreComplete() {
        assertEquals(
                List.of("-arch=sm_90", "-DLT_ELEMENT_BITS=16", "-DLT_BFLOAT16=1", "-DLT_HIDDEN=768"),
                set("gpt2", Dtype.BFLOAT16, "sm_90").kvCache().options());
        assertEquals(
                "-arch=sm_90a",
                set("gpt2", Dtype.FLOAT16, "sm_90").wgmmaGemm().options().get(0));
        List<String> sample = set("gpt2", Dtype.FLOAT16, "sm_90").sample(512).options();
        assertTrue(sample.containsAll(List.of("--fmad=false", "-DLT_SAMPLE_THREADS=512", "-DLT_VOCAB=50257")));
        assertFalse(sample.toString().contains("null"), sample::toString);
    }

    @Test
    void keysDifferByOptionAndCompiler() {
        KernelModule half = set("gpt2", Dtype.FLOAT16, "sm_90").kvCache();
        KernelModule brain = set("gpt2", Dtype.BFLOAT16, "sm_90").kvCache();

        assertEquals(
                half.key("13.0"), set("gpt2", Dtype.FLOAT16, "sm_90").kvCache().key("13.0"));
        assertNotEquals(half.key("13.0"), half.key("13.1"));
        assertNotEquals(half.key("13.0"), brain.key("13.0"));
    }

    @ParameterizedTest
    @CsvSource({
        "768, 12, FLOAT16, true",
        "768, 12, FLOAT32, true",
        "96, 3, FLOAT16, true",
        "1280, 5, FLOAT16, true",
        "1280, 5, FLOAT32, false",
        "960, 12, FLOAT16, false",
        "60, 12, FLOAT16, false"
    })
    void headsOfAPowerOfTwoThreadsAreSupported(int hiddenSize, int heads, Dtype dtype, boolean expected) {
        KernelSet set = withHeads(hiddenSize, heads, dtype);

        assertEquals(expected, set.isSupported());
        assertEquals(expected, !set.modules().isEmpty());
    }

    @ParameterizedTest
    @ValueSource(ints = {32, 64, 768, 800, 1600, 3072})
    void theHeadsRowsFitAndAreHalfOfTheBanksApart(int hiddenSize) {
        LmHeadShape shape = new LmHeadShape(hiddenSize);

        assertTrue(shape.isSupported());
        assertEquals(32, shape.stride() % 64);
        assertTrue(shape.stride() >= hiddenSize && shape.stride() <= hiddenSize + 32);
    }

    @Test
    void theHeadHasLimits() {
        assertFalse(new LmHeadShape(48).isSupported());
        assertFalse(new LmHeadShape(4096).isSupported());
    }

    @ParameterizedTest
    @CsvSource({
        // heads, head size, bytes, page size: heads of a block, tokens of a stage
        "12, 64, 2, 16, 4, 16",
        "12, 64, 2, 8, 4, 8",
        "20, 64, 2, 16, 5, 16",
        "25, 64, 2, 16, 5, 16",
        "7, 64, 2, 16, 1, 16",
        "5, 256, 2, 32, 5, 4",
        "5, 64, 4, 16, 5, 8"
    })
    void persistentAttentionsSizes(int heads, int headSize, int bytes, int pageSize, int blockHeads, int tokens) {
        AttentionShape shape = new AttentionShape(heads, headSize, bytes, pageSize);

        assertEquals(blockHeads, shape.persistentHeads());
        assertEquals(tokens, shape.persistentTokens());
        assertEquals(32 * (blockHeads + 1), shape.persistentThreads());
        assertTrue(2 * (shape.persistentSharedBytes() + (1 << 10)) <= 228 << 10, "two blocks an SM");
        assertEquals(0, pageSize % tokens);
    }

    @Test
    void gpuModelsAreChecked() {
        assertThrows(IllegalArgumentException.class, () -> new GpuModel("compute_90", 132));
        assertThrows(IllegalArgumentException.class, () -> new GpuModel("sm_90", 0));
    }
}
