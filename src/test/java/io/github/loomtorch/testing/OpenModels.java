package io.github.loomtorch.testing;

import io.github.loomtorch.model.ModelDirectory;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.file.Path;

/**
 * A program that opens model directories, and prints for each how many milliseconds of processor time that took, which
 * a busy machine does not change, and how it failed.
 */
public final class OpenModels {
    private OpenModels() {}

    public static void main(String[] directories) {
        ThreadMXBean threads = ManagementFactory.getThreadMXBean();
        open(directories[0]); // loads the classes
        for (String directory : directories) {
            long start = threads.getCurrentThreadCpuTime();
            String failure = open(directory);
            System.out.println((threads.getCurrentThreadCpuTime() - start) / 1_000_000 + " " + failure);
        }
    }

    private static String open(String directory) {
        try {
            ModelDirectory model = ModelDirectory.open(Path.of(directory));
            if (model.hasWeights()) {
                model.weights();
            } else {
                model.openTorchScript();
            }
            return "nothing";
        } catch (IOException e) {
            return "IOException " + e.getMessage().replace('\n', ' ');
        } catch (Throwable e) { // is what must not happen
            return e.toString();
        }
    }
}
