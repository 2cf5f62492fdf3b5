package io.github.loomtorch.torch.natives;

import java.util.Optional;
import org.bytedeco.javacpp.Loader;

/** The libraries outside this project that libtorch's CUDA build needs on Linux, and the packages that bring them. */
public enum CudaLibrary {
    /** NVIDIA's driver, which no package of the CUDA toolkit has. */
    DRIVER("libcuda.so.1", "", ""),
    /** The CUDA runtime. */
    CUDART("libcudart.so.13", "nvidia-cuda-runtime", "cuda-cudart-13-1"),
    /** The run-time compiler. */
    NVRTC("libnvrtc.so.13", "nvidia-cuda-nvrtc", "cuda-nvrtc-13-1"),
    /** Matrix products. */
    CUBLAS("libcublas.so.13", "nvidia-cublas", "libcublas-13-1"),
    /** Matrix products with epilogues. */
    CUBLAS_LT("libcublasLt.so.13", "nvidia-cublas", "libcublas-13-1"),
    /** Fourier transforms. */
    CUFFT("libcufft.so.12", "nvidia-cufft", "libcufft-13-1"),
    /** Random numbers. */
    CURAND("libcurand.so.10", "nvidia-curand", "libcurand-13-1"),
    /** Solvers. */
    CUSOLVER("libcusolver.so.12", "nvidia-cusolver", "libcusolver-13-1"),
    /** Sparse matrices. */
    CUSPARSE("libcusparse.so.12", "nvidia-cusparse", "libcusparse-13-1"),
    /** Linking of device code. */
    NVJITLINK("libnvJitLink.so.13", "nvidia-nvjitlink", "libnvjitlink-13-1"),
    /** Files to device memory. */
    CUFILE("libcufile.so.0", "nvidia-cufile", "libcufile-13-1"),
    /** Profiling. */
    CUPTI("libcupti.so.13", "nvidia-cuda-cupti", "cuda-cupti-13-1"),
    /** Neural network primitives. */
    CUDNN("libcudnn.so.9", "nvidia-cudnn-cu13", "libcudnn9-cuda-13"),
    /** Communication between GPUs. */
    NCCL("libnccl.so.2", "nvidia-nccl-cu13", "libnccl2");

    private final String file;
    private final String pipPackage;
    private final String aptPackage;

    CudaLibrary(String file, String pipPackage, String aptPackage) {
        this.file = file;
        this.pipPackage = pipPackage;
        this.aptPackage = aptPackage;
    }

    /** {@return the name that the loader looks for} */
    public String file() {
        return file;
    }

    /** {@return the command that installs it, or what else to do} */
    public String howToInstall() {
        return pipPackage.isEmpty()
                ? "install NVIDIA's driver, 580 or newer; in a container, start it with access to the GPU"
                : "pip install --no-deps --target cuda " + pipPackage + ", and put its lib folder into"
                        + " LD_LIBRARY_PATH; or apt-get install " + aptPackage;
    }

    /**
     * Opens it as the loader would for libtorch, in this process. JavaCPP's own native library must load.
     *
     * @return why that is not possible; empty if it is open now
     * @throws LinkageError if JavaCPP's native library does not load, so that nothing is known
     */
    public Optional<String> problem() {
        Loader.load(Loader.class);
        try {
            Loader.loadGlobal(file);
            return Optional.empty();
        } catch (UnsatisfiedLinkError e) {
            return Optional.of(Failures.firstLine(e));
        }
    }
}
