package io.github.loomtorch.torch.natives;

import java.util.Deque;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedDeque;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * The CUDA streams of models. Thread-safe.
 *
 * <p>The idle streams are static because what they save is libtorch's, and lives as long as the process: libtorch keeps
 * a cuBLAS workspace for each stream that was ever used. A new model therefore takes the stream of a closed one, and
 * the number of workspaces is the largest number of models that were open at once.
 */
public final class CudaStreams {
    private static final Map<Byte, Deque<CUDAStream>> IDLE = new ConcurrentHashMap<>();

    private CudaStreams() {}

    /**
     * Takes a stream that no open model uses. The device becomes this thread's current one.
     *
     * @param device index of the GPU
     * @return a stream to be handed to {@link #giveBack}
     */
    public static CUDAStream take(byte device) {
        Cuda.check(
                cudart.cudaSetDevice(device), "cudaSetDevice"); // or the first stream takes memory of the current GPU
        CUDAStream idle = idle(device).poll();
        return idle != null ? idle : torch_cuda.getStreamFromPool(true, device).retainReference();
    }

    /**
     * Lets another model take a stream. This thread's current stream becomes the default one.
     *
     * @param device index of the GPU
     * @param stream from {@link #take}, on which nothing runs any more
     */
    public static void giveBack(byte device, CUDAStream stream) {
        try (TensorScope scope = new TensorScope()) {
            torch_cuda.setCurrentCUDAStream(torch_cuda.getDefaultCUDAStream(device));
        }
        idle(device).add(stream);
    }

    private static Deque<CUDAStream> idle(byte device) {
        return IDLE.computeIfAbsent(device, any -> new ConcurrentLinkedDeque<>());
    }
}
