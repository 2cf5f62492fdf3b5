package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.torch.gpt2.Gpt2;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * Asks a {@link GpuReader} ten times a second what the GPUs of models do, on a thread of its own, until it is closed.
 * Does nothing for models on a CPU, or where a value is not known. Thread-safe.
 */
public final class GpuMonitor implements AutoCloseable {
    private static final Duration INTERVAL = Duration.ofMillis(100);

    private final GpuReader gpus;
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

    private GpuMonitor(GpuReader gpus) {
        this.gpus = gpus;
        thread = Thread.ofPlatform().daemon().name("gpu-monitor").unstarted(this::watch);
    }

    /**
     * Starts to watch.
     *
     * @param models replicas, each on its device
     * @return a monitor, to be closed by the caller
     */
    public static GpuMonitor start(List<Gpt2> models) {
        GpuMonitor monitor =
                new GpuMonitor(GpuReader.open(models.stream().map(Gpt2::device).toList()));
        monitor.thread.start();
        return monitor;
    }

    private void watch() {
        try {
            while (!closed) {
                List<GpuReader.Reading> readings = gpus.read();
                double share = readings.stream()
                        .mapToDouble(GpuReader.Reading::utilization)
                        .average()
                        .orElse(Double.NaN);
                double watts = readings.stream()
                        .mapToDouble(GpuReader.Reading::powerWatts)
                        .sum();
                double bytes = readings.stream()
                        .mapToDouble(GpuReader.Reading::usedBytes)
                        .sum();
                if (Double.isNaN(share + watts + bytes)) {
                    return;
                }
                add(share, watts, (long) bytes);
                Thread.sleep(INTERVAL);
            }
        } catch (InterruptedException e) {
            // Closed.
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
        gpus.close();
    }
}
