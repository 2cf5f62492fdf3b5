package io.github.loomtorch.torch.natives;

import java.io.IOException;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.stream.Stream;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.openblas.presets.openblas_nolapack;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * How many threads compute on a CPU, and how long they spin when there is nothing to do. Two libraries have threads:
 * OpenMP's compute the operators of libtorch and oneDNN; OpenBLAS's, for matrix products without oneDNN, would wait for
 * the same cores. So only one of them has more than one thread at a time. Thread-safe.
 */
public final class CpuThreads {
    private static final Logger LOG = LoggerFactory.getLogger(CpuThreads.class);
    private static final Path CORES = Path.of("/sys/devices/system/cpu");

    /*
     * Iterations in which a thread of OpenMP waits for the next operator: 0.1 to 0.3 ms, longer than the gaps within a step. The default
     * of 300,000 keeps 16 cores busy for 20 ms after each request, and beside a busy process it makes steps several times slower. With
     * 1,000 the threads sleep between the operators.
     */
    private static final String SPIN_COUNT = "5000";

    private CpuThreads() {}

    /**
     * Sets {@code GOMP_SPINCOUNT} for this process, unless it or {@code OMP_WAIT_POLICY} is set. OpenMP reads it once,
     * when it is loaded. Does nothing off Linux, or where the JVM does not let this module call native code.
     */
    static void configureEnvironment() {
        if (!Loader.getPlatform().startsWith("linux")
                || System.getenv("GOMP_SPINCOUNT") != null
                || System.getenv("OMP_WAIT_POLICY") != null) {
            return;
        }
        try {
            setEnvironment("GOMP_SPINCOUNT", SPIN_COUNT);
        } catch (Throwable e) { // a MethodHandle's; the variable is not needed for right results
            LOG.debug("GOMP_SPINCOUNT could not be set", e);
        }
    }

    /** By {@code java.lang.foreign}, which is a preview in Java 21 and so is out of a compiler's reach there. */
    private static void setEnvironment(String name, String value) throws Throwable {
        if (!(boolean) Module.class.getMethod("isNativeAccessEnabled").invoke(CpuThreads.class.getModule())) {
            return;
        }
        Class<?> linkerType = Class.forName("java.lang.foreign.Linker");
        Class<?> layoutType = Class.forName("java.lang.foreign.MemoryLayout");
        Class<?> descriptorType = Class.forName("java.lang.foreign.FunctionDescriptor");
        Class<?> optionType = Class.forName("java.lang.foreign.Linker$Option");
        Class<?> segmentType = Class.forName("java.lang.foreign.MemorySegment");
        Class<?> layouts = Class.forName("java.lang.foreign.ValueLayout");
        Object integer = layouts.getField("JAVA_INT").get(null);
        Object pointer = layouts.getField("JAVA_LONG").get(null);
        Object parameters = java.lang.reflect.Array.newInstance(layoutType, 3);
        java.lang.reflect.Array.set(parameters, 0, pointer);
        java.lang.reflect.Array.set(parameters, 1, pointer);
        java.lang.reflect.Array.set(parameters, 2, integer);
        Object descriptor = descriptorType
                .getMethod("of", layoutType, layoutType.arrayType())
                .invoke(null, integer, parameters);
        Object linker = linkerType.getMethod("nativeLinker").invoke(null);
        Object lookup = linkerType.getMethod("defaultLookup").invoke(linker);
        Optional<?> setenv = (Optional<?>) Class.forName("java.lang.foreign.SymbolLookup")
                .getMethod("find", String.class)
                .invoke(lookup, "setenv");
        MethodHandle handle = (MethodHandle) linkerType
                .getMethod("downcallHandle", segmentType, descriptorType, optionType.arrayType())
                .invoke(linker, setenv.orElseThrow(), descriptor, java.lang.reflect.Array.newInstance(optionType, 0));
        try (BytePointer nameText = new BytePointer(name);
                BytePointer valueText = new BytePointer(value)) {
            int result = (int) handle.invoke(nameText.address(), valueText.address(), 0);
            LOG.trace("setenv {}={}: {}", name, value, result);
        }
    }

    /**
     * Threads of one step.
     *
     * @param wanted 0 for {@code OMP_NUM_THREADS} or, without it, one for each core that the process may use
     * @return at least 1
     */
    public static int count(int wanted) {
        if (wanted > 0) {
            return wanted;
        }
        int processors = Runtime.getRuntime().availableProcessors(); // within the limits of a container
        String variable = System.getenv("OMP_NUM_THREADS");
        if (variable != null && variable.matches("[1-9]\\d{0,3}")) {
            return Integer.parseInt(variable);
        }
        return Math.max(1, Math.min(processors, cores()));
    }

    /** Cores of the machine: two processors that share one count once. */
    private static int cores() {
        try (Stream<Path> processors = Files.list(CORES)) {
            long cores = processors
                    .map(processor -> processor.resolve("topology/thread_siblings_list"))
                    .filter(Files::isReadable)
                    .map(CpuThreads::read)
                    .distinct()
                    .count();
            return cores == 0 ? Integer.MAX_VALUE : Math.toIntExact(cores);
        } catch (IOException e) {
            return Integer.MAX_VALUE; // not Linux
        }
    }

    private static String read(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            return file.toString();
        }
    }

    /** Sets how many threads OpenBLAS has, in the whole process. */
    public static void openBlas(int threads) {
        openblas_nolapack.blas_set_num_threads(threads);
    }
}
