package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CudaKernelsTest {
    @Test
    void onlyMacrosThatTheTextNamesAreDefined() {
        Map<String, Integer> macros = new LinkedHashMap<>();
        macros.put("C", 768);
        macros.put("V", 50257);
        macros.put("VP", 50304);
        macros.put("PAGE", 16);

        assertEquals(
                List.of("-DV=50257", "-DPAGE=16"),
                CudaKernels.definitions(macros, "extern \"C\" void f(int VPS) { g<V>(PAGES, -PAGE); }"));
    }

    /** So that it is compiled once for all sizes of GPT-2. */
    @Test
    void samplingDependsOnNoSizeButTheVocabulary() {
        Map<String, Integer> sizes =
                Map.of("C", 768, "D", 64, "F", 3072, "PAGE", 16, "ACTIVATION", 0, "EPSILON_BITS", 0, "V", 50257);

        assertEquals(List.of("-DV=50257"), CudaKernels.definitions(sizes, CudaKernels.source("sample.cu")));
    }

    @ParameterizedTest
    @ValueSource(strings = {"decode.cu", "linear.cu", "wide.cu", "sample.cu"})
    void includedFilesAreInPlace(String file) {
        assertFalse(CudaKernels.source(file).contains("#include"), file);
    }
}
