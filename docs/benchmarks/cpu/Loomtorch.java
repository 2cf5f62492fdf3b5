import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/** The worker of compare.py for Loomtorch: arguments MODEL KIND, where KIND is float32, bfloat16 or int8. */
public class Loomtorch {
    public static void main(String[] arguments) throws Exception {
        String kind = arguments[1];
        ModelOptions options = ModelOptions.builder()
                .device("cpu")
                .maxBatchSize(16)
                .dtype(kind.equals("bfloat16") ? Dtype.BFLOAT16 : Dtype.FLOAT32)
                .int8Weights(kind.equals("int8"))
                .build();
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        Random random = new Random(0);
        try (TextGenerator model =
                        TextGenerator.builder(Path.of(arguments[0])).model(options).build();
                BufferedReader in = new BufferedReader(new InputStreamReader(System.in))) {
            run(model, random, 16, 1000, 16); // so that each page of the KV cache has memory
            run(model, random, 1, 12, 16);
            System.out.println("ready");
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                String[] run = line.split(" ");
                long cpu = system.getProcessCpuTime();
                long start = System.nanoTime();
                long first = run(model, random, Integer.parseInt(run[0]), Integer.parseInt(run[1]), Integer.parseInt(run[2]));
                long end = System.nanoTime();
                long busy = system.getProcessCpuTime();
                Thread.sleep(300);
                System.out.printf(
                        "{\"seconds\": %f, \"first\": %f, \"cpu\": %f, \"idle_cpu\": %f}%n",
                        (end - start) / 1e9,
                        (first - start) / 1e9,
                        (busy - cpu) / 1e9,
                        (system.getProcessCpuTime() - busy) / 1e9);
            }
        }
    }

    private static long run(TextGenerator model, Random random, int requests, int promptTokens, int outputTokens) {
        SamplingParams greedy =
                SamplingParams.greedy(outputTokens).toBuilder().ignoreEos(true).build();
        long[] first = {0};
        List<Generation> generations = new ArrayList<>();
        for (int i = 0; i < requests; i++) {
            int[] prompt = random.ints(promptTokens, 0, 50256).toArray();
            generations.add(model.scheduler().submit(new GenerationRequest(prompt, greedy), event -> {
                if (first[0] == 0) {
                    first[0] = System.nanoTime();
                }
            }));
        }
        generations.forEach(Generation::join);
        return first[0];
    }
}
