package io.github.loomtorch.torch.natives;

import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.request.TorchException;
import java.io.IOException;
import java.net.URL;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** The native library as a whole: loads it once and tells what the machine can do. Thread-safe. */
public final class Libtorch {
    private static final Pattern MISSING_LIBRARY = Pattern.compile(": (\\S+\\.so\\S*): cannot open shared object file");

    private Libtorch() {}

    /**
     * Loads libtorch; does nothing when it is loaded. JavaCPP, which loads it, takes its options from system properties
     * only. Those that are not set are set here, for the whole process:
     *
     * <ul>
     *   <li>{@code org.bytedeco.javacpp.maxBytes} and {@code maxPhysicalBytes} to 0, no limit. The defaults limit
     *       native memory to a multiple of the Java heap, and at the limit stop all threads for garbage collections.
     *   <li>{@code org.bytedeco.javacpp.platform.extension} to a blank, only where libtorch's CUDA build is not on the
     *       class path. JavaCPP would search for the CUDA libraries for half a second.
     * </ul>
     *
     * <p>Two environment variables are set in the same way: {@link CpuThreads#configureEnvironment GOMP_SPINCOUNT}, and
     * {@code THP_MEM_ALLOC_ENABLE} to 1, so that libtorch asks for huge pages for large tensors.
     *
     * @throws TorchException if the natives are missing or do not load
     */
    public static void load() {
        setDefault("org.bytedeco.javacpp.maxBytes", "0");
        setDefault("org.bytedeco.javacpp.maxPhysicalBytes", "0");
        if (gpuBuild("jnitorch") == null) {
            setDefault("org.bytedeco.javacpp.platform.extension", " ");
        }
        try {
            CpuThreads.configureEnvironment();
            Loader.load(torch.class);
            torch.set_env("THP_MEM_ALLOC_ENABLE", "1", /* overwrite= */ false);
        } catch (LinkageError e) {
            throw new TorchException(
                    "libtorch could not be loaded for " + Loader.getPlatform() + ": " + Failures.firstLine(e)
                            + "; put the natives org.bytedeco:pytorch, openblas and javacpp with this platform's classifier on the class"
                            + " path, and for CUDA the CUDA 13, cuDNN 9 and NCCL libraries on the library path",
                    e);
        }
    }

    /** A library of libtorch's CUDA build, on the class path or module path; null if that build is not there. */
    private static @Nullable URL gpuBuild(String library) {
        String name = "org/bytedeco/pytorch/" + Loader.getPlatform() + "-gpu/" + System.mapLibraryName(library);
        // Not Libtorch.class.getResource: in a module it finds resources of that module only.
        return Libtorch.class.getClassLoader().getResource(name);
    }

    /** Whether libtorch's CUDA build is on the class path or module path, whether or not it can be loaded. */
    public static boolean hasGpuBuild() {
        return gpuBuild("torch_cuda") != null;
    }

    private static void setDefault(String property, String value) {
        if (System.getProperty(property) == null) {
            System.setProperty(property, value);
        }
    }

    /** Devices named cuda:0, cuda:1, ...; 0 where libtorch has no CUDA or the machine no working GPU. */
    public static int cudaDeviceCount() {
        return torch.hasCUDA() ? (int) torch.getNumGPUs() : 0;
    }

    /**
     * Why {@link #cudaDeviceCount} is 0, and what to do about it.
     *
     * @return the end of a sentence that begins with "CUDA is not available: "
     */
    public static String whyNoCuda() {
        if (torch.hasCUDA()) {
            return "libtorch found no working GPU; check the driver, or set device=cpu";
        }
        URL library = gpuBuild("torch_cuda");
        if (library == null) {
            return "libtorch was loaded without CUDA; put its GPU natives on the class path (Maven profile gpu), or set"
                    + " device=cpu";
        }
        try { // again, because JavaCPP tells nobody why it took the build without CUDA
            System.load(Loader.cacheResource(library).getPath());
            return "libtorch's CUDA build did not load with the class path as it is; name it before the build for the"
                    + " CPU, or set device=cpu";
        } catch (UnsatisfiedLinkError | IOException e) {
            return cudaDidNotLoad(Failures.firstLine(e));
        }
    }

    /**
     * Takes the loader's message, such as "/x/libtorch_cuda.so: libcudnn.so.9: cannot open shared object file: ...".
     */
    static String cudaDidNotLoad(String message) {
        Matcher missing = MISSING_LIBRARY.matcher(message);
        String library = missing.find() ? missing.group(1) : "";
        return "libtorch's CUDA build did not load: " + (library.isEmpty() ? message : library + " is missing") + "; "
                + (library.startsWith("libcuda.so")
                        ? "install NVIDIA's driver"
                        : "put the CUDA 13, cuDNN 9 and NCCL libraries on the library path (LD_LIBRARY_PATH)")
                + ", or set device=cpu";
    }

    /**
     * Multiplies two matrices of ones, to see whether a device computes.
     *
     * @param n their rows and columns, &gt;= 1
     * @param device for example {@code cpu} or {@code cuda:0}
     * @return the sum of the product's elements: n³ if the device computes right
     */
    public static double sumOfProduct(int n, String device) {
        try (TensorScope scope = new TensorScope()) {
            Tensor ones = torch.ones(n, n).to(new Device(device), ScalarType.Float);
            return ones.matmul(ones).sum().item_double();
        }
    }

    /** The type of a format; {@link Dtype#AUTO} is that of a GPU. */
    public static ScalarType scalarType(Dtype dtype) {
        return switch (dtype) {
            case FLOAT32 -> ScalarType.Float;
            case FLOAT16, AUTO -> ScalarType.Half;
            case BFLOAT16 -> ScalarType.BFloat16;
        };
    }

    /** The same back: not {@link Dtype#AUTO}. */
    public static Dtype dtype(ScalarType type) {
        return switch (type) {
            case Half -> Dtype.FLOAT16;
            case BFloat16 -> Dtype.BFLOAT16;
            default -> Dtype.FLOAT32;
        };
    }

    /** Bytes of one element. */
    public static int sizeBytes(ScalarType dtype) {
        return dtype == ScalarType.Float ? 4 : 2;
    }
}
