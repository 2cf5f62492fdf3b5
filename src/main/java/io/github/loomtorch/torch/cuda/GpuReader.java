package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.torch.natives.Cuda;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.cuda.global.nvml;
import org.bytedeco.cuda.nvml.nvmlDevice_st;
import org.bytedeco.cuda.nvml.nvmlMemory_t;
import org.bytedeco.cuda.nvml.nvmlUtilization_t;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerPointer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Asks NVML what GPUs do. Knows no GPUs where NVML or its binding is missing. Thread-safe. */
public final class GpuReader implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(GpuReader.class);
    private static final String CUDA = "cuda:";
    private static final int BUS_ID_LENGTH = 32;

    private final Map<String, nvmlDevice_st> gpus = new LinkedHashMap<>();
    private boolean initialized;

    /**
     * What a GPU does now. A value is NaN if NVML does not tell it, such as the utilization of a GPU that is divided by
     * MIG. Immutable.
     *
     * @param device {@code cuda:n}
     * @param utilization share of the last moments in which a kernel ran, in [0, 1]
     * @param usedBytes memory in use, by other processes too
     * @param totalBytes memory of the GPU
     * @param powerWatts power that the GPU draws
     */
    public record Reading(String device, double utilization, double usedBytes, double totalBytes, double powerWatts) {}

    private GpuReader() {}

    /**
     * Finds the GPUs of devices.
     *
     * @param devices each {@code cpu}, which is left out, or {@code cuda:n}; one that comes twice counts once
     * @return a reader, to be closed by the caller; of no GPUs if NVML does not know all of them
     */
    public static GpuReader open(Collection<String> devices) {
        GpuReader reader = new GpuReader();
        List<String> onGpus = devices.stream()
                .filter(device -> device.startsWith(CUDA))
                .distinct()
                .toList();
        if (onGpus.isEmpty()) {
            return reader;
        }
        try {
            check(nvml.nvmlInit_v2(), "nvmlInit");
            reader.initialized = true;
            for (String device : onGpus) {
                reader.gpus.put(device, find(Integer.parseInt(device.substring(CUDA.length()))));
            }
        } catch (LinkageError | RuntimeException e) {
            LOG.warn(
                    "utilization, memory and power of the GPU are not known: {}; in a container, set"
                            + " NVIDIA_DRIVER_CAPABILITIES=compute,utility",
                    e.toString());
            reader.gpus.clear();
        }
        return reader;
    }

    /** CUDA may count devices in another order than NVML, which also sees those that are hidden from this process. */
    private static nvmlDevice_st find(int index) {
        try (BytePointer busId = new BytePointer(BUS_ID_LENGTH);
                PointerPointer<nvmlDevice_st> handle = new PointerPointer<>(1)) {
            Cuda.check(cudart.cudaDeviceGetPCIBusId(busId, BUS_ID_LENGTH, index), "cudaDeviceGetPCIBusId");
            check(nvml.nvmlDeviceGetHandleByPciBusId_v2(busId.getString(), handle), "nvmlDeviceGetHandleByPciBusId");
            return handle.get(nvmlDevice_st.class, 0);
        }
    }

    private static void check(int result, String call) {
        if (result != nvml.NVML_SUCCESS) {
            throw new IllegalStateException(
                    call + " failed: " + nvml.nvmlErrorString(result).getString());
        }
    }

    /**
     * What each GPU does now.
     *
     * @return in the order of the devices
     */
    public List<Reading> read() {
        return gpus.entrySet().stream()
                .map(gpu -> read(gpu.getKey(), gpu.getValue()))
                .toList();
    }

    private static Reading read(String device, nvmlDevice_st gpu) {
        int[] milliwatts = new int[1];
        try (nvmlUtilization_t utilization = new nvmlUtilization_t();
                nvmlMemory_t memory = new nvmlMemory_t()) {
            boolean knowsUtilization = nvml.nvmlDeviceGetUtilizationRates(gpu, utilization) == nvml.NVML_SUCCESS;
            boolean knowsMemory = nvml.nvmlDeviceGetMemoryInfo(gpu, memory) == nvml.NVML_SUCCESS;
            boolean knowsPower = nvml.nvmlDeviceGetPowerUsage(gpu, milliwatts) == nvml.NVML_SUCCESS;
            return new Reading(
                    device,
                    knowsUtilization ? utilization.gpu() / 100.0 : Double.NaN,
                    knowsMemory ? memory.used() : Double.NaN,
                    knowsMemory ? memory.total() : Double.NaN,
                    knowsPower ? milliwatts[0] / 1e3 : Double.NaN);
        }
    }

    /** Lets go of NVML; then nothing more is known. */
    @Override
    public void close() {
        if (initialized) {
            nvml.nvmlShutdown();
        }
    }
}
