package io.github.loomtorch.testing;

import io.github.loomtorch.model.ModelDirectory;
import java.io.IOException;
import java.nio.file.Path;

/** A program that opens model directories, and prints for each how many milliseconds that took and how it failed. */
public final class OpenModels {
    private OpenModels() {}

    public static void main(String[] directories) {
        open(directories[0]); // loads the classes
        for (String directory : directories) {
            long start = System.nanoTime();
            String failure = open(directory);
            System.out.println((System.nanoTime() - start) / 1_000_000 + " " + failure);
        }
    }

    private static String open(String directory) {
        try {
            ModelDirectory.open(Path.of(directory)).weights();
            return "nothing";
        } catch (IOException e) {
            return "IOException " + e.getMessage().replace('\n', ' ');
        } catch (Throwable e) { // is what must not happen
            return e.toString();
        }
    }
}
