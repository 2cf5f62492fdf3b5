package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.SchedulerState;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.scheduler.ReplicaPool;
import io.github.loomtorch.testing.CommandProcess;
import io.github.loomtorch.testing.ForwardingLm;
import io.github.loomtorch.testing.Gpu;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.Libtorch;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.function.UnaryOperator;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Replicas of the embedded model on {@code cuda:0} and {@code cuda:1}. Skipped on a machine with one GPU. */
@Tag("gpu")
@Timeout(value = 180, unit = TimeUnit.SECONDS)
class ReplicasIT {
    private static final Path TALES = Path.of("models/tales");

    @BeforeAll
    static void needTwoGpus() {
        Libtorch.load();
        assumeTrue(Libtorch.cudaDeviceCount() >= 2, "this machine has not two GPUs");
    }

    private static ModelOptions options(String device) {
        return ModelOptions.builder()
                .device(device)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(16)
                .kvCacheFraction(0.1)
                .deterministic(true)
                .build();
    }

    private static ContinuousScheduler replica(String device, UnaryOperator<CausalLm> change) throws IOException {
        ModelDirectory model = ModelDirectory.open(TALES);
        return new ContinuousScheduler(
                () -> new Engine(change.apply(Gpt2Loader.load(model, options(device))), EngineOptions.defaults()));
    }

    /** Of mixed lengths, each with a seed of its own. */
    private static List<GenerationRequest> requests(int count) {
        Random random = new Random(21);
        List<GenerationRequest> requests = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            SamplingParams params = SamplingParams.creative().toBuilder()
                    .seed(i)
                    .ignoreEos(true)
                    .maxNewTokens(10 + i % 40)
                    .topLogprobs(2)
                    .build();
            requests.add(new GenerationRequest(
                    random.ints(1 + random.nextInt(300), 0, 50257).toArray(), params));
        }
        return requests;
    }

    private static List<Completion> completionsOn(String device, List<GenerationRequest> requests) throws IOException {
        try (ContinuousScheduler scheduler = replica(device, lm -> lm)) {
            List<Generation> generations =
                    requests.stream().map(scheduler::submit).toList();
            return generations.stream().map(Generation::join).toList();
        }
    }

    private static void assertSame(Completion expected, Completion got, String what) {
        assertArrayEquals(expected.outputTokenIds(), got.outputTokenIds(), what);
        assertEquals(expected.logprobs(), got.logprobs(), what);
    }

    @Test
    void bothGpusGiveTheSameBits() throws IOException {
        List<GenerationRequest> requests = requests(60);
        List<Completion> first = completionsOn("cuda:0", requests);
        List<Completion> second = completionsOn("cuda:1", requests);
        for (int i = 0; i < requests.size(); i++) {
            assertSame(first.get(i), second.get(i), "request " + i);
        }
    }

    @Test
    void twoGpusShareTheWork() throws IOException {
        List<GenerationRequest> requests = requests(120);
        List<Completion> alone = completionsOn("cuda:0", requests);
        AtomicLongArray steps = new AtomicLongArray(2);
        try (TextGenerator generator = TextGenerator.builder(TALES)
                .model(options("cuda:0"))
                .devices("cuda:0", "cuda:1")
                .engine(replica -> EngineOptions.builder()
                        .listener(step -> steps.incrementAndGet(replica))
                        .build())
                .build()) {
            List<Generation> together =
                    requests.stream().map(generator.scheduler()::submit).toList();
            for (int i = 0; i < requests.size(); i++) {
                assertSame(alone.get(i), together.get(i).join(), "request " + i);
            }
        }
        assertTrue(steps.get(0) > 50 && steps.get(1) > 50, steps.toString());
    }

    /** Loads on {@code cuda:1} and says whether this process has taken anything of {@code cuda:0}. */
    static final class OnSecondGpu {
        public static void main(String[] args) throws IOException {
            int tokens = completionsOn("cuda:1", requests(20)).size();
            int[] active = new int[1];
            Cuda.check(cudart.cuDevicePrimaryCtxGetState(0, new int[1], active), "cuDevicePrimaryCtxGetState");
            System.out.println(tokens + " completions, contexts on cuda:0: " + active[0]);
        }
    }

    @Test
    void aReplicaTakesNothingOfAnotherGpu() throws Exception {
        CommandProcess.Result result = new CommandProcess(OnSecondGpu.class).run();
        assertEquals("20 completions, contexts on cuda:0: 0\n", result.out(), result.err());
    }

    @Test
    void closingGivesTheMemoryOfBothGpusBack() throws IOException {
        long[] before = new long[2];
        for (int round = 0; round < 4; round++) {
            try (ReplicaPool pool =
                    new ReplicaPool(List.of(replica("cuda:0", lm -> lm), replica("cuda:1", lm -> lm)))) {
                List<Generation> generations =
                        requests(20).stream().map(pool::submit).toList();
                generations.forEach(Generation::join);
            }
            for (int gpu = 0; gpu < 2; gpu++) {
                long free = Gpu.freeBytes(gpu);
                if (round == 1) { // by then CUDA and its libraries hold what they keep
                    before[gpu] = free;
                }
                assertTrue(
                        round <= 1 || free > before[gpu] - (16 << 20),
                        "cuda:" + gpu + " had " + before[gpu] + " bytes free, then " + free);
            }
        }
    }

    /** A pool has all that it needs; a new one does not, says so, and leaves nothing on the other GPU. */
    @Test
    void memoryTakenByOthersStopsOnlyTheLoading() throws IOException {
        List<GenerationRequest> requests = requests(60);
        List<Completion> alone = completionsOn("cuda:0", requests);
        List<Pointer> taken = new ArrayList<>();
        try (ReplicaPool pool = new ReplicaPool(List.of(replica("cuda:0", lm -> lm), replica("cuda:1", lm -> lm)))) {
            requests(20).stream().map(pool::submit).toList().forEach(Generation::join);
            takeMemory(taken, 1);
            List<Generation> together = requests.stream().map(pool::submit).toList();
            for (int i = 0; i < requests.size(); i++) {
                assertSame(alone.get(i), together.get(i).join(), "request " + i);
            }
            assertEquals(new SchedulerState.Running(2, 2), pool.state());
            long[] free = new long[3];
            for (int round = 0; round < 3; round++) {
                TorchException e = assertThrows(
                        TorchException.class,
                        () -> TextGenerator.builder(TALES)
                                .model(options("cuda:0"))
                                .devices("cuda:0", "cuda:1")
                                .build());
                assertTrue(e.getMessage().contains("cuda:1"), e.getMessage());
                free[round] = Gpu.freeBytes(0);
            }
            // libtorch keeps a workspace for the stream of the first
            assertTrue(free[2] > free[0] - (16 << 20), free[0] + " bytes were free, then " + free[2]);
        } finally {
            taken.forEach(cudart::cudaFree);
        }
    }

    /** All but 100 MiB. */
    private static void takeMemory(List<Pointer> taken, int gpu) {
        for (long size = Gpu.freeBytes(gpu); size >= 1 << 20; size /= 2) {
            while (Gpu.freeBytes(gpu) - size > 100 << 20) {
                Pointer memory = new Pointer();
                if (cudart.cudaMalloc(memory, size) != cudart.cudaSuccess) {
                    cudart.cudaGetLastError(); // forgets it
                    break;
                }
                taken.add(memory);
            }
        }
    }

    /**
     * The failure is the model's, not the device's. At most the 16 requests that ran there fail; those that waited
     * move.
     */
    @Test
    void aReplicaThatFailsLosesNoWaitingRequest() throws IOException {
        List<GenerationRequest> requests = requests(200);
        List<Completion> alone = completionsOn("cuda:0", requests);
        int failed = 0;
        try (ReplicaPool pool =
                new ReplicaPool(List.of(replica("cuda:0", lm -> lm), replica("cuda:1", FailingLm::new)))) {
            List<Generation> generations = requests.stream().map(pool::submit).toList();
            for (int i = 0; i < requests.size(); i++) {
                try {
                    assertSame(alone.get(i), generations.get(i).join(), "request " + i);
                } catch (CompletionException e) {
                    failed++;
                    assertTrue(String.valueOf(e.getCause()).contains("injected"), String.valueOf(e.getCause()));
                }
            }
            assertTrue(failed <= 16, failed + " requests failed");
            assertEquals(new SchedulerState.Running(1, 2), pool.state());
            assertSame(alone.get(0), pool.submit(requests.get(0)).join(), "afterwards");
        }
    }

    /** Is lost from its 25th step on. */
    private static final class FailingLm extends ForwardingLm {
        private int steps;

        FailingLm(CausalLm lm) {
            super(lm);
        }

        @Override
        public void launch(List<Chunk> chunks) {
            if (++steps >= 25) {
                throw new TorchException("injected");
            }
            super.launch(chunks);
        }

        @Override
        public boolean isLost() {
            return steps >= 25;
        }
    }

    /** A kernel on {@code cuda:1} fails an assertion in the middle of the work. */
    static final class FaultsSecondGpu {
        public static void main(String[] args) throws IOException {
            List<GenerationRequest> requests = requests(200);
            int finished = 0;
            int failed = 0;
            try (ReplicaPool pool = new ReplicaPool(
                    List.of(replica("cuda:0", lm -> lm), replica("cuda:1", FaultsSecondGpu::failing)))) {
                List<Generation> generations =
                        requests.stream().map(pool::submit).toList();
                for (Generation generation : generations) {
                    try {
                        generation.join();
                        finished++;
                    } catch (CompletionException e) {
                        failed++;
                        assertTrue(e.getCause() instanceof TorchException, String.valueOf(e.getCause()));
                    }
                }
                System.out.println((finished + failed) + " ended, " + (failed > 0) + ", "
                        + pool.state().getClass().getSimpleName());
            }
            System.out.println("closed");
        }

        private static CausalLm failing(CausalLm lm) {
            return new ForwardingLm(lm) {
                private int steps;

                @Override
                public void launch(List<Chunk> chunks) {
                    if (++steps == 25) {
                        Device gpu = new Device(DeviceType.CUDA, (byte) 1);
                        TensorOptions longs = new TensorOptions(ScalarType.Long).device(new DeviceOptional(gpu));
                        Tensor outside = torch.ones(new long[] {4}, longs).mul(new Scalar(1 << 30));
                        torch.zeros(new long[] {4}, longs).index_select(0, outside);
                    }
                    super.launch(chunks);
                }
            };
        }
    }

    /** A fault of one GPU is a fault of all GPUs of the process, in CUDA: no request can go on, and all are told so. */
    @Test
    void aFaultOfOneGpuEndsAllRequests() throws Exception {
        CommandProcess.Result result = new CommandProcess(FaultsSecondGpu.class).run();
        assertEquals("200 ended, true, Lost\nclosed\n", result.out(), result.err());
        assertEquals(0, result.status());
    }
}
