package io.github.loomtorch.testing;

import io.github.loomtorch.torch.natives.Cuda;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.SizeTPointer;

/** The GPU of tests that need one: {@code cuda}, or what {@code -Dloomtorch.test.gpu=cuda:1} names. */
public final class Gpu {
    public static final String DEVICE = System.getProperty("loomtorch.test.gpu", "cuda");

    /** Its index among the GPUs. */
    public static final int INDEX = DEVICE.contains(":") ? Integer.parseInt(DEVICE.substring(5)) : 0;

    private Gpu() {}

    /** Free memory of a GPU, which becomes this thread's current one. */
    public static long freeBytes(int index) {
        Cuda.check(cudart.cudaSetDevice(index), "cudaSetDevice");
        try (SizeTPointer free = new SizeTPointer(1);
                SizeTPointer total = new SizeTPointer(1)) {
            Cuda.check(cudart.cudaMemGetInfo(free, total), "cudaMemGetInfo");
            return free.get();
        }
    }
}
