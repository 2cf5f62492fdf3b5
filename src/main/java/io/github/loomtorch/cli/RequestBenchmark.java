package io.github.loomtorch.cli;

import java.io.IOException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** A benchmark of requests, which can be drawn. */
abstract class RequestBenchmark extends Benchmark {
    @Option(
            names = "--report",
            paramLabel = "FILE",
            description = "Draw the results: FILE.html is one page that needs nothing else, FILE.png a picture.")
    private @Nullable Path report;

    @Override
    final void write(Report results) throws IOException {
        super.write(results);
        if (report != null) {
            Pictures.write(results, report);
        }
    }

    @Override
    final void checkFiles() throws IOException {
        super.checkFiles();
        checkFile(report);
        if (report != null && !Pictures.canWrite(report)) {
            throw new IllegalArgumentException("report must end in .html or .png, got " + report);
        }
    }
}
