package io.github.loomtorch.torch.cuda;

import static io.github.loomtorch.torch.cuda.KernelConstant.*;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

/** The CUDA files of this package, resources, with the constants that each takes; no more, no less. */
enum KernelFile {
    EMBEDDING("embedding.cu", List.of(Groups.ELEMENT, Groups.ROW, List.of(HIDDEN))),
    KV_CACHE("kv_cache.cu", List.of(Groups.ELEMENT, List.of(HIDDEN))),
    ATTENTION_PAGED("attention_paged.cu", List.of(Groups.ELEMENT, Groups.ROW, Groups.PAGED, List.of(PAGED_CLUSTER))),
    ATTENTION_PREFILL(
            "attention_prefill.cu",
            List.of(Groups.ELEMENT, Groups.ROW, Groups.PAGED, List.of(PREFILL_QUERIES, PREFILL_WARPS))),
    ATTENTION_PERSISTENT(
            "attention_persistent.cu",
            List.of(
                    Groups.ELEMENT,
                    Groups.ROW,
                    Groups.CACHE,
                    List.of(PERSISTENT_HEADS, PERSISTENT_STAGES, PERSISTENT_TOKENS, PLAN_ITEM, PLAN_STATE))),
    LAYER_NORM("layer_norm.cu", List.of(Groups.ELEMENT, List.of(HIDDEN, EPSILON_BITS))),
    GEMM_SKINNY("gemm_skinny.cu", List.of(Groups.ELEMENT, Groups.GEMM, List.of(SKINNY_ROWS, SKINNY_WARPS))),
    GEMM_WGMMA(
            "gemm_wgmma.cu",
            List.of(
                    Groups.ELEMENT,
                    Groups.GEMM,
                    List.of(WGMMA_ROWS, WGMMA_K, WGMMA_WARPS, WGMMA_THREADS, WGMMA_NORMED_THREADS))),
    LM_HEAD(
            "lm_head.cu",
            List.of(
                    Groups.ELEMENT,
                    List.of(HIDDEN, EPSILON_BITS, PADDED_VOCAB, INT8_HEAD, HEAD_ROWS, HEAD_WARPS, HEAD_STRIDE))),
    /** Depends on no size of the model but the vocabulary and the length of its rows. */
    SAMPLE("sample.cu", List.of(Groups.ELEMENT, Groups.ROW, Groups.LOGPROBS, Groups.SAMPLE)),
    /** Of the model only the vocabulary matters. */
    SCORE("score.cu", List.of(Groups.ELEMENT, Groups.LOGPROBS, Groups.SCORE));

    /** Constants that a header takes. */
    private static final class Groups {
        static final List<KernelConstant> ELEMENT = List.of(ELEMENT_BITS, BFLOAT16);
        static final List<KernelConstant> ROW =
                List.of(ROW_SIZE, ROW_TOKEN, ROW_LENGTH, ROW_CHUNK_TOKENS, ROW_SLOT, ROW_FIRST, ROW_PAGES);
        static final List<KernelConstant> CACHE = List.of(HIDDEN, HEAD_SIZE, PAGE_SIZE);
        static final List<KernelConstant> PAGED = List.of(HIDDEN, HEAD_SIZE, PAGE_SIZE, PAGED_THREADS, PAGED_UNROLL);
        static final List<KernelConstant> GEMM = List.of(EPSILON_BITS, ACTIVATION, KERNELS);
        static final List<KernelConstant> LOGPROBS = List.of(
                VOCAB,
                PADDED_VOCAB,
                SAMPLE_THREADS,
                RESULT_TOKEN_LOGIT,
                RESULT_MAX_LOGIT,
                RESULT_MASS,
                RESULT_TOP,
                RESULT_REASON,
                RESULT_ID,
                RESULT_LOGIT,
                UNUSABLE_LOGIT,
                UNUSABLE_ADJUSTED_LOGIT,
                UNUSABLE_ALL_BANNED,
                UNUSABLE_ALL_INFINITE);
        static final List<KernelConstant> SAMPLE = List.of(
                ROW_FLAGS,
                ROW_TOP_K,
                ROW_SCALE,
                ROW_TOP_P,
                ROW_MIN_EXPONENT,
                ROW_REPETITION,
                ROW_PRESENCE,
                ROW_FREQUENCY,
                ROW_UNIFORM,
                ROW_TOP_LOGPROBS,
                ROW_RESULT,
                ROW_UNCOUNTED,
                FLAG_SAMPLES,
                FLAG_GREEDY,
                FLAG_BIASED,
                FLAG_PENALISED,
                FLAG_COUNT_INPUT,
                RESULT_SIZE,
                RESULT_TOKEN);
        static final List<KernelConstant> SCORE = List.of(
                SCORE_SIZE,
                SCORE_ROW,
                SCORE_TARGET,
                SCORE_FLAGS,
                SCORE_TOP,
                SCORE_STATISTICS,
                SCORE_WORD_STARTS,
                RESULT_RANK,
                RESULT_MEAN,
                RESULT_VARIANCE,
                RESULT_WORD_STARTS);
    }

    private static final List<String> HEADERS = List.of(
            "attention.cuh",
            "attention_paged.cuh",
            "element.cuh",
            "gemm.cuh",
            "layer_norm.cuh",
            "logprobs.cuh",
            "memory.cuh",
            "mma.cuh",
            "pipeline.cuh",
            "reduce.cuh",
            "sample_bits.cuh",
            "sample_select.cuh",
            "softmax.cuh",
            "step_row.cuh",
            "weights.cuh");

    private final String fileName;
    private final Set<KernelConstant> constants;

    KernelFile(String fileName, List<List<KernelConstant>> constants) {
        this.fileName = fileName;
        Set<KernelConstant> all = EnumSet.noneOf(KernelConstant.class);
        constants.forEach(all::addAll);
        this.constants = Collections.unmodifiableSet(all);
    }

    String fileName() {
        return fileName;
    }

    Set<KernelConstant> constants() {
        return constants;
    }

    /** The file's text, which includes headers. */
    String source() {
        return resource(fileName);
    }

    /** The headers of all files: their texts by the names that {@code #include} has. */
    static Map<String, String> headers() {
        Map<String, String> headers = new LinkedHashMap<>();
        HEADERS.forEach(name -> headers.put(name, resource(name)));
        return headers;
    }

    /** All files and headers: their texts by name. */
    static Map<String, String> allSources() {
        Map<String, String> sources = headers();
        Stream.of(values()).forEach(file -> sources.put(file.fileName, file.source()));
        return sources;
    }

    private static String resource(String name) {
        try (InputStream in = KernelFile.class.getResourceAsStream(name)) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
