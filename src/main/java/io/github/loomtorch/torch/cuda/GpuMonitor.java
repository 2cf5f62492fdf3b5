package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.program.Gpt2;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.cuda.global.nvml;
import org.bytedeco.cuda.nvml.nvmlDevice_st;
import org.bytedeco.cuda.nvml.nvmlMemory_t;
import org.bytedeco.cuda.nvml.nvmlUtilization_t;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerPointer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Asks NVML ten times a second what the GPUs of models do, on a thread of its own, until it is closed. Does nothing for
 * models on a CPU, or where NVML or its binding is missing. Thread-safe.
 */
public final class GpuMonitor implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(GpuMonitor.class);
    private static final Duration INTERVAL = Duration.ofMillis(100);
    private static final int BUS_ID_LENGTH = 32;

    private final List<nvmlDevice_st> devices;
    private final Thread thread;
    private volatile boolean closed;

    // Guarded by this.
    private int samples;
    private double utilizationSum;
    private double powerSum;
    private long maxMemoryBytes;

    /**
     * What the GPUs did. Immutable.
     *
     * @param utilization mean share of the time in which a kernel ran, in [0, 1]
     * @param powerWatts mean power of all GPUs together
     * @param maxMemoryBytes most memory in use on all GPUs together, other processes included
     */
    public record Use(double utilization, double powerWatts, long maxMemoryBytes) {}

    private GpuMonitor(List<nvmlDevice_st> devices) {
        this.devices = devices;
        thread = Thread.ofPlatform().daemon().name("gpu-monitor").unstarted(this::watch);
    }

    /**
     * Starts to watch.
     *
     * @param models replicas, each on its device
     * @return a monitor, to be closed by the caller
     */
    public static GpuMonitor start(List<Gpt2> models) {
        GpuMonitor monitor = new GpuMonitor(devices(models));
        monitor.thread.start();
        return monitor;
    }

    private static List<nvmlDevice_st> devices(List<Gpt2> models) {
        List<nvmlDevice_st> devices = new ArrayList<>();
        if (models.stream().noneMatch(model -> model.device().startsWith("cuda:"))) {
            return devices;
        }
        try {
            check(nvml.nvmlInit_v2(), "nvmlInit");
            for (Gpt2 model : models) {
                devices.add(device(Integer.parseInt(model.device().substring("cuda:".length()))));
            }
        } catch (LinkageError | RuntimeException e) {
            LOG.info("the use of the GPU is not known: {}", e.toString());
            devices.clear();
        }
        return devices;
    }

    /** CUDA may count devices in another order than NVML, which also sees those that are hidden from this process. */
    private static nvmlDevice_st device(int index) {
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

    private void watch() {
        if (devices.isEmpty()) {
            return;
        }
        try (nvmlUtilization_t utilization = new nvmlUtilization_t();
                nvmlMemory_t memory = new nvmlMemory_t()) {
            int[] milliwatts = new int[1];
            while (!closed) {
                double share = 0;
                double watts = 0;
                long bytes = 0;
                for (nvmlDevice_st device : devices) {
                    check(nvml.nvmlDeviceGetUtilizationRates(device, utilization), "nvmlDeviceGetUtilizationRates");
                    check(nvml.nvmlDeviceGetPowerUsage(device, milliwatts), "nvmlDeviceGetPowerUsage");
                    check(nvml.nvmlDeviceGetMemoryInfo(device, memory), "nvmlDeviceGetMemoryInfo");
                    share += utilization.gpu() / 100.0 / devices.size();
                    watts += milliwatts[0] / 1e3;
                    bytes += memory.used();
                }
                add(share, watts, bytes);
                Thread.sleep(INTERVAL);
            }
        } catch (InterruptedException e) {
            // Closed.
        } catch (RuntimeException e) {
            LOG.info("the use of the GPU is not known: {}", e.toString());
        }
    }

    private synchronized void add(double utilization, double watts, long bytes) {
        samples++;
        utilizationSum += utilization;
        powerSum += watts;
        maxMemoryBytes = Math.max(maxMemoryBytes, bytes);
    }

    /**
     * What was seen since the start.
     *
     * @return empty if nothing was
     */
    public synchronized Optional<Use> use() {
        return samples == 0
                ? Optional.empty()
                : Optional.of(new Use(utilizationSum / samples, powerSum / samples, maxMemoryBytes));
    }

    /** Ends the thread and waits for it. */
    @Override
    public void close() {
        closed = true;
        thread.interrupt();
        boolean interrupted = false;
        while (thread.isAlive()) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        if (!devices.isEmpty()) {
            nvml.nvmlShutdown();
        }
    }
}
