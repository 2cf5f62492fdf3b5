package io.github.loomtorch.torch.natives;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LibtorchTest {
    @ParameterizedTest
    @CsvSource({
        "libcudnn.so.9, 'put the CUDA 13, cuDNN 9 and NCCL libraries on the library path (LD_LIBRARY_PATH)'",
        "libnccl.so.2, 'put the CUDA 13, cuDNN 9 and NCCL libraries on the library path (LD_LIBRARY_PATH)'",
        "libcuda.so.1, 'install NVIDIA''s driver'"
    })
    void namesTheLibraryThatIsMissing(String library, String advice) {
        assertEquals(
                "libtorch's CUDA build did not load: " + library + " is missing; " + advice + ", or set device=cpu",
                Libtorch.cudaDidNotLoad("/cache/libtorch_cuda.so: " + library
                        + ": cannot open shared object file: No such file or directory"));
    }

    @Test
    void quotesTheLoaderWhereItNamesNoLibrary() {
        assertEquals(
                "libtorch's CUDA build did not load: /cache/libtorch_cuda.so: file too short; put the CUDA 13, cuDNN 9"
                        + " and NCCL libraries on the library path (LD_LIBRARY_PATH), or set device=cpu",
                Libtorch.cudaDidNotLoad("/cache/libtorch_cuda.so: file too short"));
    }
}
