package io.github.loomtorch.cli;

import java.io.IOException;
import java.nio.file.Path;

/** Draws the results of a benchmark in the form that a file's name asks for. */
final class Pictures {
    private Pictures() {}

    static boolean canWrite(Path file) {
        return isHtml(file) || file.toString().endsWith(".png");
    }

    private static boolean isHtml(Path file) {
        return file.toString().endsWith(".html");
    }

    static void write(Report report, Path file) throws IOException {
        if (isHtml(file)) {
            HtmlReport.write(report, file);
        } else {
            PngReport.write(report, file);
        }
    }
}
