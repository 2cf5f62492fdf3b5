package io.github.loomtorch.doctor;

import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.cpu.CpuKernels;
import io.github.loomtorch.torch.natives.CudaLibrary;
import io.github.loomtorch.torch.natives.Failures;
import io.github.loomtorch.torch.natives.Gpu;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.natives.Processor;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * What native code tells of a machine. Immutable.
 *
 * @param loadFailure why libtorch cannot be loaded; empty if it can
 * @param cpuDtype what a model computes in on the CPU unless told otherwise
 * @param cpuKernels the instruction set of the kernels for the CPU; empty if they do not run here
 * @param whyNoCpuKernels why they do not; empty if they do
 * @param hasGpuBuild whether libtorch's CUDA build is on the class path
 * @param whyNoCuda why libtorch has no GPU; empty if it has one, or was not loaded
 * @param gpus that libtorch can use
 * @param libraries whether each CUDA library can be opened: empty if it can, else why not; no entries where CUDA is not
 *     wanted, or where that cannot be found out
 * @param product what went wrong in a matrix product on a device; no entry for a device that multiplies
 */
public record Natives(
        Optional<String> loadFailure,
        Dtype cpuDtype,
        Optional<String> cpuKernels,
        Optional<String> whyNoCpuKernels,
        boolean hasGpuBuild,
        Optional<String> whyNoCuda,
        List<Gpu> gpus,
        Map<CudaLibrary, Optional<String>> libraries,
        Map<String, String> product) {
    private static final int SIZE = 64;
    private static final double SUM = SIZE * SIZE * SIZE;

    /**
     * Loads libtorch into this process, and tries it.
     *
     * @param machine this machine
     * @return what came of it, also where nothing can be loaded
     */
    public static Natives here(Machine machine) {
        Optional<String> loadFailure = Optional.empty();
        try {
            Libtorch.load();
        } catch (TorchException | LinkageError e) {
            loadFailure = Optional.of(Failures.firstLine(e));
        }
        Dtype cpuDtype = Processor.dtype(Dtype.AUTO, false);
        Optional<String> whyNoCpuKernels = CpuKernels.whyNot();
        Optional<String> cpuKernels =
                whyNoCpuKernels.isEmpty() ? Optional.of(CpuKernels.instructions()) : Optional.empty();
        boolean hasGpuBuild = Libtorch.hasGpuBuild();
        boolean wantsCuda = machine.isLinux()
                && (hasGpuBuild
                        || machine.driver().isPresent()
                        || !machine.gpus().isEmpty());
        Map<CudaLibrary, Optional<String>> libraries = wantsCuda ? openLibraries() : Map.of();
        if (loadFailure.isPresent()) {
            return new Natives(
                    loadFailure,
                    cpuDtype,
                    cpuKernels,
                    whyNoCpuKernels,
                    hasGpuBuild,
                    Optional.empty(),
                    List.of(),
                    libraries,
                    Map.of());
        }
        Optional<String> whyNoCuda = Optional.empty();
        List<Gpu> gpus = List.of();
        try {
            gpus = Gpu.all();
            if (gpus.isEmpty()) {
                whyNoCuda = Optional.of(Libtorch.whyNoCuda());
            }
        } catch (RuntimeException | LinkageError e) {
            whyNoCuda = Optional.of(Failures.firstLine(e));
        }
        return new Natives(
                loadFailure,
                cpuDtype,
                cpuKernels,
                whyNoCpuKernels,
                hasGpuBuild,
                whyNoCuda,
                gpus,
                libraries,
                products(gpus.size()));
    }

    private static Map<CudaLibrary, Optional<String>> openLibraries() {
        Map<CudaLibrary, Optional<String>> libraries = new EnumMap<>(CudaLibrary.class);
        try {
            for (CudaLibrary library : CudaLibrary.values()) {
                libraries.put(library, library.problem());
            }
            return libraries;
        } catch (LinkageError e) {
            return Map.of(); // JavaCPP's own library is missing, which is why libtorch did not load
        }
    }

    private static Map<String, String> products(int gpus) {
        Map<String, String> failures = new LinkedHashMap<>();
        multiply("cpu", failures);
        for (int i = 0; i < gpus; i++) {
            multiply("cuda:" + i, failures);
        }
        return failures;
    }

    private static void multiply(String device, Map<String, String> failures) {
        try {
            double sum = Libtorch.sumOfProduct(SIZE, device);
            if (sum != SUM) {
                failures.put(device, "the elements of a matrix product must sum to " + SUM + ", got " + sum);
            }
        } catch (RuntimeException | LinkageError e) {
            failures.put(device, Failures.firstLine(e));
        }
    }
}
