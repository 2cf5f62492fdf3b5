package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.torch.natives.CpuThreads;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Threads of replicas of a model. */
@Timeout(30)
class ReplicasTest {
    private static List<Integer> threads(int wanted, String... devices) {
        ModelOptions model = ModelOptions.builder().threads(wanted).build();
        List<ModelOptions> replicas = Gpt2Loader.replicas(model, List.of(devices));
        assertEquals(
                List.of(devices), replicas.stream().map(ModelOptions::device).toList());
        return replicas.stream().map(ModelOptions::threads).toList();
    }

    @Test
    void divideTheCores() {
        int each = Math.max(1, CpuThreads.count(0) / 2);
        assertEquals(List.of(each, each), threads(0, "cpu", "cpu"));
    }

    @Test
    void takeAllCoresEachIfTheyAreAlone() {
        assertEquals(List.of(0, 0), threads(0, "cpu", "cuda:0"));
    }

    @Test
    void takeAsManyAsTheUserSays() {
        assertEquals(List.of(5, 5), threads(5, "cpu", "cpu"));
        assertEquals(5, CpuThreads.count(5));
    }
}
