package io.github.loomtorch.torch.natives;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.SizeTPointer;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * A GPU that libtorch can use. Immutable.
 *
 * @param name of the product, for example {@code NVIDIA H200}
 * @param capability the compute capability, for example {@code 9.0}
 * @param freeBytes of its memory now
 * @param totalBytes of its memory
 */
public record Gpu(String name, String capability, long freeBytes, long totalBytes) {

    /**
     * All GPUs, in the order of {@code cuda:0}, {@code cuda:1}, ...; sets the current device of this thread. Libtorch
     * must be loaded.
     *
     * @throws io.github.loomtorch.request.TorchException if one does not answer
     */
    public static List<Gpu> all() {
        List<Gpu> gpus = new ArrayList<>();
        try (TensorScope scope = new TensorScope()) {
            for (int device = 0; device < Libtorch.cudaDeviceCount(); device++) {
                var properties = torch_cuda.getDeviceProperties((byte) device);
                Cuda.check(cudart.cudaSetDevice(device), "cudaSetDevice");
                SizeTPointer free = new SizeTPointer(1);
                SizeTPointer total = new SizeTPointer(1);
                Cuda.check(cudart.cudaMemGetInfo(free, total), "cudaMemGetInfo");
                gpus.add(new Gpu(
                        properties.name().getString(),
                        properties.major() + "." + properties.minor(),
                        free.get(),
                        total.get()));
            }
        }
        return List.copyOf(gpus);
    }
}
