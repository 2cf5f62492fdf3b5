package io.github.loomtorch.doctor;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.torch.natives.CudaLibrary;
import io.github.loomtorch.torch.natives.Gpu;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** Judges what was found out about a machine, and says what to do. It looks at nothing itself. */
public final class Doctor {
    private static final int MIN_DRIVER = 580; // of CUDA 13
    private static final double MIN_CAPABILITY = 7.5;
    private static final int MAX_BATCH_SIZE = 1_024;
    private static final List<String> INSTRUCTION_SETS = List.of(
            "avx2",
            "avx512f",
            "avx_vnni",
            "avx512_vnni",
            "avx512_bf16",
            "amx_int8",
            "amx_bf16",
            "asimd",
            "i8mm",
            "bf16");

    private Doctor() {}

    /**
     * Judges the machine without its native code.
     *
     * @param machine what Java and the operating system tell
     * @return system, Java, processor, memory, cache folder and driver
     */
    public static List<Check> machine(Machine machine) {
        return List.of(
                Check.ok("system", machine.system()),
                java(machine),
                processor(machine),
                memory(machine),
                cacheFolder(machine),
                driver(machine));
    }

    private static Check java(Machine machine) {
        return machine.nativeAccess()
                ? Check.ok("java", machine.java())
                : Check.note(
                        "java",
                        machine.java() + ", without --enable-native-access",
                        "start java with --enable-native-access=ALL-UNNAMED: it warns now, and a later Java refuses native code");
    }

    private static Check processor(Machine machine) {
        String sets = INSTRUCTION_SETS.stream()
                .filter(machine.processorFlags()::contains)
                .collect(Collectors.joining(" "));
        String value = (machine.processorModel().isEmpty() ? "" : machine.processorModel() + ", ")
                + machine.processors() + " processors"
                + (machine.processors() < machine.hostProcessors()
                        ? " of " + machine.hostProcessors() + ", which is the limit of the container or process"
                        : "")
                + (sets.isEmpty() ? "" : ", " + sets);
        return Check.ok("processor", value);
    }

    private static Check memory(Machine machine) {
        String value = gibibytes(machine.availableBytes()) + " of " + gibibytes(machine.memoryBytes()) + " available"
                + (machine.memoryBytes() < machine.hostMemoryBytes()
                        ? ", the limit of the container; the machine has " + gibibytes(machine.hostMemoryBytes())
                        : "");
        return machine.maxHeapBytes() <= machine.memoryBytes() / 2
                ? Check.ok("memory", value)
                : Check.note(
                        "memory",
                        value + "; Java's heap may take " + gibibytes(machine.maxHeapBytes()),
                        "set a smaller -Xmx: weights and KV cache are outside the heap, which needs some hundred MiB");
    }

    private static Check cacheFolder(Machine machine) {
        return machine.cacheIsWritable()
                ? Check.ok("cache_folder", machine.cacheFolder() + ", " + machine.cachedKernels() + " compiled kernels")
                : Check.note(
                        "cache_folder",
                        machine.cacheFolder() + " cannot be written",
                        "name another folder by the environment variable LOOMTORCH_CACHE, or each start on a GPU compiles"
                                + " the kernels again");
    }

    private static Check driver(Machine machine) {
        if (machine.driver().isEmpty()) {
            return Check.ok("nvidia_driver", "none");
        }
        String version = machine.driver().get();
        String value = version + (machine.gpus().isEmpty() ? "" : ", " + String.join(", ", machine.gpus()));
        return Integer.parseInt(version.substring(0, version.indexOf('.'))) >= MIN_DRIVER
                ? Check.ok("nvidia_driver", value)
                : Check.note("nvidia_driver", value, "install driver " + MIN_DRIVER + " or newer, which CUDA 13 needs");
    }

    /**
     * Judges the native code.
     *
     * @param machine what Java and the operating system tell
     * @param natives what native code tells
     * @param libtorch its version
     * @return libtorch, the data type and the kernels on the CPU, the CUDA libraries, the GPUs, and a matrix product on
     *     each device
     */
    public static List<Check> natives(Machine machine, Natives natives, String libtorch) {
        List<Check> checks = new ArrayList<>();
        checks.add(libtorch(natives, libtorch));
        checks.add(Check.ok("cpu_dtype", name(natives.cpuDtype())));
        checks.add(cpuKernels(natives));
        natives.libraries().forEach((library, problem) -> checks.add(library(library, problem, natives)));
        checks.addAll(gpus(machine, natives));
        if (natives.loadFailure().isEmpty()) {
            checks.add(product("cpu", natives));
            for (int i = 0; i < natives.gpus().size(); i++) {
                checks.add(product("cuda:" + i, natives));
            }
        }
        return checks;
    }

    private static Check libtorch(Natives natives, String version) {
        String build = version + (natives.hasGpuBuild() ? ", CUDA build" : ", build for the CPU");
        if (natives.loadFailure().isEmpty()) {
            return Check.ok("libtorch", build);
        }
        String[] failure = natives.loadFailure().get().split("; ", 2); // what, and what to do
        String usualAdvice = failure.length == 2 ? failure[1] : "see docs/compatibility.md#platforms";
        return Check.problem("libtorch", build + ": " + failure[0], loadAdvice(failure[0], usualAdvice));
    }

    private static Check cpuKernels(Natives natives) {
        return natives.whyNoCpuKernels()
                .map(why -> Check.note(
                        "cpu_kernels",
                        "none, so models on the CPU run as TorchScript programs, slower: " + why,
                        "see docs/compatibility.md#platforms"))
                .orElseGet(() -> Check.ok("cpu_kernels", natives.cpuKernels().orElseThrow()));
    }

    private static String loadAdvice(String failure, String usual) {
        if (failure.contains("GLIBC")) {
            return "use a system with glibc 2.35 and libstdc++ of GCC 12 or newer: Debian 12, Ubuntu 22.04";
        }
        if (failure.contains("musl") || failure.contains("ld-linux")) {
            return "use a system with glibc 2.35 or newer, such as Debian 12: the natives do not run on musl (Alpine)";
        }
        if (failure.contains("failed to map segment")) {
            return "name a folder whose files may be executed by -Dorg.bytedeco.javacpp.cachedir=DIR";
        }
        return usual;
    }

    private static Check library(CudaLibrary library, Optional<String> problem, Natives natives) {
        String name = library.file();
        if (problem.isEmpty()) {
            return Check.ok(name, "found");
        }
        String why = problem.get().replaceFirst("^" + Pattern.quote(name) + ": ", "");
        boolean keepsFromGpu = natives.hasGpuBuild() && natives.gpus().isEmpty();
        return keepsFromGpu
                ? Check.problem(name, why, library.howToInstall())
                : Check.note(name, why, library.howToInstall());
    }

    private static List<Check> gpus(Machine machine, Natives natives) {
        List<Check> checks = new ArrayList<>();
        for (Gpu gpu : natives.gpus()) {
            String name = "cuda:" + checks.size();
            String value = gpu.name() + ", compute capability " + gpu.capability() + ", " + gibibytes(gpu.freeBytes())
                    + " of " + gibibytes(gpu.totalBytes()) + " free";
            checks.add(
                    Double.parseDouble(gpu.capability()) >= MIN_CAPABILITY
                            ? Check.ok(name, value)
                            : Check.problem(
                                    name, value, "use a GPU of compute capability 7.5 or higher, or --device cpu"));
        }
        boolean driverSeesGpu = machine.driver().isPresent() || !machine.gpus().isEmpty();
        if (!checks.isEmpty()) {
            return checks;
        }
        if (natives.hasGpuBuild()) {
            return List.of(Check.problem(
                    "gpu",
                    natives.whyNoCuda().orElse("libtorch was not loaded"),
                    driverSeesGpu
                            ? "mend what is wrong above; see docs/guide.md#cuda-libraries-missing"
                            : CudaLibrary.DRIVER.howToInstall()));
        }
        return List.of(
                driverSeesGpu
                        ? Check.note(
                                "gpu",
                                "not used: libtorch's build is for the CPU",
                                "build with mvn -Pgpu, or take org.bytedeco:pytorch with the classifier linux-x86_64-gpu")
                        : Check.ok("gpu", "none"));
    }

    private static Check product(String device, Natives natives) {
        String name = "matrix_product_" + device;
        String failure = natives.product().get(device);
        return failure == null
                ? Check.ok(name, "right")
                : Check.problem(
                        name,
                        failure,
                        "run other software on this device; if it fails too, the hardware or driver is broken");
    }

    /**
     * Judges the self-test.
     *
     * @param test what came of it
     * @return whether a model runs
     */
    public static Check selfTest(SelfTest test) {
        String seconds = String.format(Locale.ROOT, "%.1f s", test.seconds());
        return test.failure()
                .map(failure -> Check.problem("self_test", failure, "see docs/guide.md#troubleshooting"))
                .orElseGet(() -> Check.ok("self_test", "the embedded model generated two right tokens, in " + seconds));
    }

    /**
     * Tells how many requests of full length a model can run at once, beside its weights.
     *
     * @param model its name
     * @param config its shape
     * @param machine whose memory counts on a CPU
     * @param natives whose first GPU counts, if there is one
     * @return about how many; a problem if there is none
     */
    public static Check capacity(String model, Gpt2Config config, Machine machine, Natives natives) {
        boolean onGpu = !natives.gpus().isEmpty();
        Dtype dtype = onGpu ? Dtype.FLOAT16 : natives.cpuDtype();
        long weights = config.parameterCount() * (dtype == Dtype.FLOAT32 ? 4 : 2);
        long cacheElementBytes = onGpu ? 2 : 4;
        long perToken = 2L * config.layerCount() * config.hiddenSize() * cacheElementBytes;
        long perRequest = perToken * config.contextLength();
        long memory = onGpu ? natives.gpus().getFirst().freeBytes() : machine.availableBytes();
        double share = onGpu ? ModelOptions.defaults().kvCacheFraction() : 1;
        long requests = (long) (Math.max(0, memory - weights) * share) / perRequest;
        String value = String.format(
                Locale.ROOT,
                "%s in %s: weights %s, KV cache %s for each request of %,d tokens; %s on %s",
                model,
                name(dtype),
                gibibytes(weights),
                gibibytes(perRequest),
                config.contextLength(),
                requests >= MAX_BATCH_SIZE ? "--max-batch-size 1024 fits" : "about " + requests + " fit at once",
                onGpu ? "cuda:0" : "the CPU");
        return requests > 0
                ? Check.ok("capacity", value)
                : Check.problem(
                        "capacity", value, "free memory, or take a smaller model; see docs/guide.md#out-of-memory");
    }

    /**
     * The worst of several.
     *
     * @param checks at least one
     * @return the status of them all
     */
    public static Check.Status worst(List<Check> checks) {
        return checks.stream().map(Check::status).max(Enum::compareTo).orElseThrow();
    }

    private static String name(Dtype dtype) {
        return dtype.name().toLowerCase(Locale.ROOT);
    }

    private static String gibibytes(long bytes) {
        return bytes < 1L << 30
                ? String.format(Locale.ROOT, "%d MiB", bytes >> 20)
                : String.format(Locale.ROOT, "%.1f GiB", bytes / (double) (1L << 30));
    }
}
