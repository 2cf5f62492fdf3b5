package io.github.loomtorch.doctor;

import com.sun.management.OperatingSystemMXBean;
import io.github.loomtorch.torch.natives.CacheFolder;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * What Java and the operating system tell of a machine, without native code of this library. Memory and processors are
 * those that a container may use, as Java reads them from its control group (version 1 or 2). Immutable.
 *
 * @param system name, version and architecture of the operating system
 * @param isLinux whether that is Linux
 * @param java version and vendor
 * @param nativeAccess whether Java was started with permission to call native code, or needs none
 * @param processors that this process may use
 * @param hostProcessors that the machine has
 * @param processorModel name of the processor, empty if it is not known
 * @param processorFlags instruction sets as Linux names them, empty if they are not known
 * @param memoryBytes that this process may use
 * @param hostMemoryBytes that the machine has
 * @param availableBytes of that memory, not in use now
 * @param maxHeapBytes that Java's heap may take
 * @param cacheFolder for compiled kernels and the embedded model
 * @param cacheIsWritable whether it can be made or written
 * @param cachedKernels compiled kernels in it
 * @param driver version of NVIDIA's driver, empty if there is none
 * @param gpus products that the driver sees, empty if it sees none or does not tell
 */
public record Machine(
        String system,
        boolean isLinux,
        String java,
        boolean nativeAccess,
        int processors,
        int hostProcessors,
        String processorModel,
        Set<String> processorFlags,
        long memoryBytes,
        long hostMemoryBytes,
        long availableBytes,
        long maxHeapBytes,
        Path cacheFolder,
        boolean cacheIsWritable,
        int cachedKernels,
        Optional<String> driver,
        List<String> gpus) {
    private static final int ASKS_FOR_NATIVE_ACCESS = 24; // the first Java that warns without it
    private static final Path PROC = Path.of("/proc");
    private static final Pattern DRIVER = Pattern.compile("\\b\\d{3}\\.\\d+(?:\\.\\d+)?\\b");

    /** {@return this machine} */
    public static Machine here() {
        OperatingSystemMXBean bean = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
        String memory = read(PROC.resolve("meminfo"));
        String processor = read(PROC.resolve("cpuinfo"));
        long limit = bean.getTotalMemorySize();
        long host = kibibytes(memory, "MemTotal").orElse(limit);
        long free = bean.getFreeMemorySize();
        long available = kibibytes(memory, "MemAvailable").orElse(free);
        Path cache = CacheFolder.path().toAbsolutePath();
        String system = System.getProperty("os.name");
        return new Machine(
                system + " " + System.getProperty("os.version") + " " + System.getProperty("os.arch"),
                system.equals("Linux"),
                System.getProperty("java.runtime.version") + ", " + System.getProperty("java.vendor"),
                hasNativeAccess(),
                Runtime.getRuntime().availableProcessors(),
                Math.max(Runtime.getRuntime().availableProcessors(), (int) processor
                        .lines()
                        .filter(line -> line.startsWith("processor"))
                        .count()),
                field(processor, "model name").orElse(""),
                flags(processor),
                limit,
                Math.max(limit, host),
                limit < host ? Math.min(free, available) : available,
                Runtime.getRuntime().maxMemory(),
                cache,
                isWritable(cache),
                kernels(cache),
                driver(read(PROC.resolve("driver/nvidia/version"))),
                gpus(PROC.resolve("driver/nvidia/gpus")));
    }

    /** The jar's manifest permits it for {@code java -jar}. */
    private static boolean hasNativeAccess() {
        String classPath = System.getProperty("java.class.path", "");
        boolean isStartedByJar =
                classPath.endsWith(".jar") && !classPath.contains(System.getProperty("path.separator"));
        return isStartedByJar
                || Runtime.version().feature() < ASKS_FOR_NATIVE_ACCESS
                || ManagementFactory.getRuntimeMXBean().getInputArguments().stream()
                        .anyMatch(argument -> argument.startsWith("--enable-native-access"));
    }

    /** A file's text; empty if it is not there or cannot be read. */
    private static String read(Path file) {
        try {
            return Files.isReadable(file) ? Files.readString(file) : "";
        } catch (IOException e) {
            return "";
        }
    }

    /** The first value of a name in lines such as "model name : AMD EPYC". */
    static Optional<String> field(String text, String name) {
        return text.lines()
                .filter(line -> line.startsWith(name) && line.contains(":"))
                .map(line -> line.substring(line.indexOf(':') + 1).strip())
                .findFirst();
    }

    /** The same for a number of kibibytes, such as "MemTotal: 8010708 kB", in bytes. */
    static Optional<Long> kibibytes(String text, String name) {
        return field(text, name).map(value -> Long.parseLong(value.replace(" kB", "")) * 1024);
    }

    /** The instruction sets in the text of {@code /proc/cpuinfo}. */
    static Set<String> flags(String text) {
        return field(text, "flags")
                .or(() -> field(text, "Features")) // on arm64
                .map(flags -> Set.copyOf(Arrays.asList(flags.split("\\s+"))))
                .orElse(Set.of());
    }

    /** The version in the text of {@code /proc/driver/nvidia/version}. */
    static Optional<String> driver(String text) {
        Matcher version = DRIVER.matcher(text);
        return version.find() ? Optional.of(version.group()) : Optional.empty();
    }

    private static List<String> gpus(Path folder) {
        if (!Files.isDirectory(folder)) {
            return List.of();
        }
        try (Stream<Path> gpus = Files.list(folder)) {
            return gpus.map(gpu ->
                            field(read(gpu.resolve("information")), "Model").orElse("unnamed GPU"))
                    .toList();
        } catch (IOException e) {
            return List.of();
        }
    }

    /** Whether a folder can be written, or made in the first of its parents that is there. */
    private static boolean isWritable(Path folder) {
        Path there = folder;
        while (there != null && !Files.exists(there)) {
            there = there.getParent();
        }
        return there != null && Files.isDirectory(there) && Files.isWritable(there);
    }

    private static int kernels(Path folder) {
        try (Stream<Path> files = Files.list(folder)) {
            return (int)
                    files.filter(file -> file.toString().endsWith(".cubin")).count();
        } catch (IOException e) {
            return 0; // it is not there yet
        }
    }
}
