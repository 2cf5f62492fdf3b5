package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.model.Activation;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

@Timeout(20)
class KernelFileTest {
    private static final Pattern CONSTANT = Pattern.compile("\\bLT_([A-Z0-9_]+)\\b");
    private static final Pattern CHECKED = Pattern.compile("defined\\(LT_([A-Z0-9_]+)\\)|#ifndef LT_([A-Z0-9_]+)");
    private static final Pattern COMMENT = Pattern.compile("/\\*.*?\\*/|//[^\\n]*", Pattern.DOTALL);
    private static final Pattern INCLUDE = Pattern.compile("#include \"(\\w+\\.cuh)\"");

    /** A constant that is passed but not taken would have kernels compiled again for nothing. */
    @ParameterizedTest
    @EnumSource
    void eachFileTakesTheConstantsThatItIsPassed(KernelFile file) {
        Set<String> passed = file.constants().stream().map(Enum::name).collect(Collectors.toCollection(TreeSet::new));

        assertEquals(passed, names(CONSTANT, withHeaders(file)));
    }

    /** A constant that is missing gives one clear error. */
    @ParameterizedTest
    @EnumSource
    void eachConstantIsCheckedByItsFile(KernelFile file) {
        Set<String> passed = file.constants().stream().map(Enum::name).collect(Collectors.toCollection(TreeSet::new));

        assertEquals(passed, names(CHECKED, withHeaders(file)));
    }

    @Test
    void samplingDependsOnNoSizeButTheVocabularyAndTheRows() {
        Set<KernelConstant> sizes = new HashSet<>(KernelFile.SAMPLE.constants());
        sizes.removeIf(constant -> constant.fixed().isPresent());

        assertEquals(
                Set.of(
                        KernelConstant.ELEMENT_BITS,
                        KernelConstant.BFLOAT16,
                        KernelConstant.ROW_SIZE,
                        KernelConstant.VOCAB,
                        KernelConstant.PADDED_VOCAB,
                        KernelConstant.SAMPLE_THREADS),
                sizes);
    }

    @Test
    void everyHeaderIsIncludedSomewhere() {
        Set<String> used = new HashSet<>();
        for (KernelFile file : KernelFile.values()) {
            used.addAll(headersOf(file));
        }
        assertEquals(KernelFile.headers().keySet(), used);
    }

    @Test
    void everyActivationHasAFormulaByItsName() {
        String gemm = KernelFile.headers().get("gemm.cuh");
        String names = Stream.of(Activation.values()).map(Enum::name).collect(Collectors.joining(", "));

        assertTrue(gemm.contains("enum class Activation { " + names + " };"), names);
    }

    @Test
    void epiloguesHaveTheSameNames() {
        String gemm = KernelFile.headers().get("gemm.cuh");
        for (Product.Epilogue epilogue : Product.Epilogue.values()) {
            assertTrue(gemm.matches("(?s).*enum class Epilogue \\{[^}]*\\b" + epilogue + "\\b.*"), epilogue.name());
        }
    }

    private static Set<String> headersOf(KernelFile file) {
        Map<String, String> headers = KernelFile.headers();
        Set<String> found = new HashSet<>();
        Deque<String> texts = new ArrayDeque<>(Set.of(file.source()));
        while (!texts.isEmpty()) {
            INCLUDE.matcher(texts.pop()).results().map(match -> match.group(1)).forEach(name -> {
                assertTrue(headers.containsKey(name), () -> name + " is passed to the compiler");
                if (found.add(name)) {
                    texts.push(headers.get(name));
                }
            });
        }
        return found;
    }

    private static String withHeaders(KernelFile file) {
        Map<String, String> headers = KernelFile.headers();
        return headersOf(file).stream().map(headers::get).collect(Collectors.joining("\n", file.source(), ""));
    }

    private static Set<String> names(Pattern pattern, String text) {
        return pattern.matcher(COMMENT.matcher(text).replaceAll(""))
                .results()
                .map(match -> match.group(1) != null ? match.group(1) : match.group(2))
                .collect(Collectors.toCollection(TreeSet::new));
    }
}
