package io.github.loomtorch.doctor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.doctor.Check.Status;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.torch.natives.CudaLibrary;
import io.github.loomtorch.torch.natives.Gpu;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(20)
class DoctorTest {
    private static final long GIB = 1L << 30;
    private static final Gpu H200 = new Gpu("NVIDIA H200", "9.0", 139 * GIB, 140 * GIB);

    // The machine and its natives as they should be; a test changes one thing.
    private boolean nativeAccess = true;
    private int processors = 16;
    private long memory = 64 * GIB;
    private long available = 60 * GIB;
    private long heap = 4 * GIB;
    private boolean cacheIsWritable = true;
    private Optional<String> driver = Optional.empty();
    private List<String> gpusOfDriver = List.of();

    private Optional<String> loadFailure = Optional.empty();
    private Optional<String> whyNoCpuKernels = Optional.empty();
    private boolean hasGpuBuild;
    private Optional<String> whyNoCuda = Optional.of("built for the CPU");
    private List<Gpu> gpus = List.of();
    private final Map<CudaLibrary, Optional<String>> libraries = new EnumMap<>(CudaLibrary.class);
    private Map<String, String> product = Map.of();

    private Machine machine() {
        return new Machine(
                "Linux 6.1 amd64",
                true,
                "25.0.3, Adoptium",
                nativeAccess,
                processors,
                16,
                "AMD EPYC",
                Set.of("fpu", "avx2", "avx512_bf16"),
                memory,
                64 * GIB,
                available,
                heap,
                Path.of("/cache"),
                cacheIsWritable,
                3,
                driver,
                gpusOfDriver);
    }

    private Natives natives() {
        return new Natives(
                loadFailure,
                Dtype.BFLOAT16,
                whyNoCpuKernels.isEmpty() ? Optional.of("AVX2") : Optional.empty(),
                whyNoCpuKernels,
                hasGpuBuild,
                whyNoCuda,
                gpus,
                libraries,
                product);
    }

    private List<Check> nativeChecks() {
        return Doctor.natives(machine(), natives(), "2.10.0");
    }

    private void hasWorkingGpu() {
        driver = Optional.of("580.159.04");
        gpusOfDriver = List.of("NVIDIA H200");
        hasGpuBuild = true;
        whyNoCuda = Optional.empty();
        gpus = List.of(H200);
        for (CudaLibrary library : CudaLibrary.values()) {
            libraries.put(library, Optional.empty());
        }
    }

    private void isMissing(CudaLibrary library) {
        libraries.put(
                library, Optional.of(library.file() + ": cannot open shared object file: No such file or directory"));
    }

    private static Check find(List<Check> checks, String name) {
        return checks.stream()
                .filter(check -> check.name().equals(name))
                .findFirst()
                .orElseThrow(() -> new AssertionError("no " + name + " in " + checks));
    }

    @Test
    void findsNothingWrongWithAMachineWithoutGpu() {
        assertEquals(Status.OK, Doctor.worst(Doctor.machine(machine())));
        assertEquals(Status.OK, Doctor.worst(nativeChecks()));
        assertEquals(
                new Check("processor", Status.OK, "AMD EPYC, 16 processors, avx2 avx512_bf16", ""),
                find(Doctor.machine(machine()), "processor"));
        assertEquals("bfloat16", find(nativeChecks(), "cpu_dtype").value());
        assertEquals("AVX2", find(nativeChecks(), "cpu_kernels").value());
        assertEquals(
                "2.10.0, build for the CPU", find(nativeChecks(), "libtorch").value());
        assertEquals("none", find(nativeChecks(), "gpu").value());
        assertEquals("right", find(nativeChecks(), "matrix_product_cpu").value());
    }

    @Test
    void saysWhyModelsOnTheCpuRunWithoutKernels() {
        whyNoCpuKernels = Optional.of("there are no kernels for linux-arm64");
        assertEquals(
                new Check(
                        "cpu_kernels",
                        Status.NOTE,
                        "none, so models on the CPU run as TorchScript programs, slower: there are no kernels for"
                                + " linux-arm64",
                        "see docs/compatibility.md#platforms"),
                find(nativeChecks(), "cpu_kernels"));
    }

    @Test
    void findsNothingWrongWithAMachineWithGpu() {
        hasWorkingGpu();
        assertEquals(Status.OK, Doctor.worst(Doctor.machine(machine())));
        assertEquals(Status.OK, Doctor.worst(nativeChecks()));
        assertEquals(
                "NVIDIA H200, compute capability 9.0, 139.0 GiB of 140.0 GiB free",
                find(nativeChecks(), "cuda:0").value());
        assertEquals("right", find(nativeChecks(), "matrix_product_cuda:0").value());
        assertEquals(
                "580.159.04, NVIDIA H200",
                find(Doctor.machine(machine()), "nvidia_driver").value());
        assertEquals("found", find(nativeChecks(), "libcudnn.so.9").value());
    }

    @Test
    void namesTheMissingFlag() {
        nativeAccess = false;
        Check check = find(Doctor.machine(machine()), "java");
        assertEquals(Status.NOTE, check.status());
        assertTrue(check.advice().contains("--enable-native-access=ALL-UNNAMED"), check.advice());
    }

    @Test
    void tellsTheLimitsOfAContainer() {
        processors = 2;
        memory = 4 * GIB;
        available = 3 * GIB;
        heap = GIB;
        List<Check> checks = Doctor.machine(machine());
        assertTrue(find(checks, "processor").value().contains("2 processors of 16"), checks.toString());
        assertEquals(
                new Check(
                        "memory",
                        Status.OK,
                        "3.0 GiB of 4.0 GiB available, the limit of the container; the machine has 64.0 GiB",
                        ""),
                find(checks, "memory"));
    }

    @Test
    void notesAHeapThatLeavesTooLittleMemory() {
        heap = 33 * GIB;
        Check check = find(Doctor.machine(machine()), "memory");
        assertEquals(Status.NOTE, check.status());
        assertTrue(check.advice().contains("-Xmx"), check.advice());
    }

    @Test
    void notesACacheFolderThatCannotBeWritten() {
        cacheIsWritable = false;
        Check check = find(Doctor.machine(machine()), "cache_folder");
        assertEquals(Status.NOTE, check.status());
        assertEquals(Path.of("/cache") + " cannot be written", check.value());
    }

    @ParameterizedTest
    @CsvSource({"570.86.10, NOTE", "580.65.06, OK", "595.1.0, OK"})
    void comparesTheDriverWithWhatCudaNeeds(String version, Status expected) {
        driver = Optional.of(version);
        assertEquals(expected, find(Doctor.machine(machine()), "nvidia_driver").status());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "no jnitorch in java.library.path; put the natives on the class path | put the natives on the class path",
                "/x/libtorch.so: version `GLIBC_2.35' not found | use a system with glibc 2.35 and libstdc++ of GCC 12 or newer: Debian 12, Ubuntu 22.04",
                "Error loading shared library ld-linux-x86-64.so.2 | use a system with glibc 2.35 or newer, such as Debian 12: the natives do not run on musl (Alpine)",
                "/tmp/x.so: failed to map segment from shared object | name a folder whose files may be executed by -Dorg.bytedeco.javacpp.cachedir=DIR",
                "file too short | see docs/compatibility.md#platforms"
            })
    void saysWhatToDoWhereLibtorchDoesNotLoad(String failure, String advice) {
        loadFailure = Optional.of(failure);
        Check check = find(nativeChecks(), "libtorch");
        assertEquals(Status.PROBLEM, check.status());
        assertEquals("2.10.0, build for the CPU: " + failure.split("; ")[0], check.value());
        assertEquals(advice, check.advice());
        assertTrue(nativeChecks().stream().noneMatch(other -> other.name().startsWith("matrix_product")));
    }

    @Test
    void saysWhichPackageBringsALibraryThatKeepsTheGpuFromWorking() {
        hasWorkingGpu();
        gpus = List.of();
        whyNoCuda = Optional.of("libcudnn.so.9 is missing");
        isMissing(CudaLibrary.CUDNN);
        isMissing(CudaLibrary.DRIVER);
        assertEquals(
                new Check(
                        "libcudnn.so.9",
                        Status.PROBLEM,
                        "cannot open shared object file: No such file or directory",
                        "pip install --no-deps --target cuda nvidia-cudnn-cu13, and put its lib folder into LD_LIBRARY_PATH;"
                                + " or apt-get install libcudnn9-cuda-13"),
                find(nativeChecks(), "libcudnn.so.9"));
        assertTrue(find(nativeChecks(), "libcuda.so.1").advice().contains("driver"));
        assertEquals(Status.OK, find(nativeChecks(), "libnccl.so.2").status());
        assertEquals(
                new Check(
                        "gpu",
                        Status.PROBLEM,
                        "libcudnn.so.9 is missing",
                        "mend what is wrong above; see docs/guide.md#cuda-libraries-missing"),
                find(nativeChecks(), "gpu"));
    }

    @Test
    void onlyNotesALibraryThatTheGpuWorksWithout() {
        hasWorkingGpu();
        isMissing(CudaLibrary.NVRTC);
        assertEquals(Status.NOTE, Doctor.worst(nativeChecks()));
    }

    @Test
    void notesAGpuThatTheBuildForTheCpuLeavesUnused() {
        driver = Optional.of("580.159.04");
        isMissing(CudaLibrary.CUDNN);
        assertEquals(Status.NOTE, Doctor.worst(nativeChecks()));
        assertTrue(find(nativeChecks(), "gpu").advice().contains("linux-x86_64-gpu"));
    }

    @Test
    void asksForTheDriverWhereTheCudaBuildHasNone() {
        hasGpuBuild = true;
        Check check = find(nativeChecks(), "gpu");
        assertEquals(Status.PROBLEM, check.status());
        assertTrue(check.advice().startsWith("install NVIDIA's driver"), check.advice());
    }

    @Test
    void refusesAGpuThatIsTooOld() {
        hasWorkingGpu();
        gpus = List.of(H200, new Gpu("Tesla V100", "7.0", 15 * GIB, 16 * GIB));
        assertEquals(Status.OK, find(nativeChecks(), "cuda:0").status());
        assertEquals(Status.PROBLEM, find(nativeChecks(), "cuda:1").status());
    }

    @Test
    void reportsADeviceThatMultipliesWrong() {
        product = Map.of("cpu", "the sum must be 8, got 7");
        Check check = find(nativeChecks(), "matrix_product_cpu");
        assertEquals(Status.PROBLEM, check.status());
        assertEquals("the sum must be 8, got 7", check.value());
    }

    @Test
    void reportsTheSelfTest() {
        assertEquals(
                new Check("self_test", Status.OK, "the embedded model generated two right tokens, in 1.3 s", ""),
                Doctor.selfTest(new SelfTest(1.26, Optional.empty())));
        assertEquals(
                Status.PROBLEM,
                Doctor.selfTest(new SelfTest(1, Optional.of("no"))).status());
    }

    @Test
    void countsTheRequestsThatFitOnTheCpu() {
        Gpt2Config gpt2 = Gpt2Config.shape("gpt2");
        available = 2 * 124_439_808L + 5 * 72L * 1024 * 1024; // the cache is float32: 72 KiB a token, 1,024 tokens
        assertEquals(
                new Check(
                        "capacity",
                        Status.OK,
                        "gpt2 in bfloat16: weights 237 MiB, KV cache 72 MiB for each request of 1,024 tokens; about 5 fit"
                                + " at once on the CPU",
                        ""),
                Doctor.capacity("gpt2", gpt2, machine(), natives()));
        available -= 5 * 72L * 1024 * 1024 + 1;
        assertEquals(
                Status.PROBLEM,
                Doctor.capacity("gpt2", gpt2, machine(), natives()).status());
    }

    @Test
    void countsTheRequestsThatFitOnTheGpu() {
        hasWorkingGpu();
        Gpt2Config xl = Gpt2Config.shape("gpt2-xl");
        // (139 GiB - 2.9 GiB) * 0.9 / 300 MiB
        assertEquals(
                "gpt2-xl in float16: weights 2.9 GiB, KV cache 300 MiB for each request of 1,024 tokens; about 418 fit at"
                        + " once on cuda:0",
                Doctor.capacity("gpt2-xl", xl, machine(), natives()).value());
        assertTrue(Doctor.capacity("gpt2", Gpt2Config.shape("gpt2"), machine(), natives())
                .value()
                .endsWith("--max-batch-size 1024 fits on cuda:0"));
    }

    /** The guide has a table of the same libraries. */
    @Test
    void theGuideNamesTheSamePackages() throws IOException {
        String guide = Files.readString(Path.of("docs/guide.md"));
        List<String> missing = Arrays.stream(CudaLibrary.values())
                .filter(library -> guide.lines()
                        .noneMatch(line -> line.startsWith("|")
                                && line.contains("`" + library.file() + "`")
                                && packages(library).allMatch(line::contains)))
                .map(CudaLibrary::file)
                .toList();
        assertEquals(List.of(), missing);
    }

    /** The names of packages in the advice, such as nvidia-nccl-cu13 and libnccl2. */
    private static Stream<String> packages(CudaLibrary library) {
        return Pattern.compile("(?:--target cuda|apt-get install) ([\\w-]+)")
                .matcher(library.howToInstall())
                .results()
                .map(match -> match.group(1));
    }
}
