package io.github.loomtorch.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.apache.commons.csv.CSVFormat;

/**
 * The results of all runs as a file of comma-separated values. A result is in the file as soon as its request has
 * ended, so an interruption loses none; when it is closed, the file is in the order of runs and prompts. Thread-safe.
 */
public final class NaiveCsv implements AutoCloseable {
    private static final CSVFormat FORMAT =
            CSVFormat.RFC4180.builder().setRecordSeparator("\n").get();

    private final Path file;
    private final Writer writer;
    private final List<NaiveResult> results = new ArrayList<>();

    /**
     * Writes the header.
     *
     * @param file written anew
     * @throws IOException if it cannot be written
     */
    public NaiveCsv(Path file) throws IOException {
        this.file = file;
        writer = Files.newBufferedWriter(file, StandardCharsets.UTF_8);
        write(NaiveResult.COLUMN_NAMES);
    }

    /**
     * Adds a line.
     *
     * @param result of a request that has ended
     * @throws UncheckedIOException if it cannot be written
     */
    public synchronized void add(NaiveResult result) {
        results.add(result);
        try {
            write(result.columns());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private void write(List<?> columns) throws IOException {
        try {
            FORMAT.printRecord(writer, columns.toArray());
            writer.flush();
        } catch (IOException e) {
            throw new IOException(file + ": could not be written: " + e.getMessage(), e);
        }
    }

    /**
     * Sorts the lines by run and prompt, unless the file is a device or a pipe.
     *
     * @throws IOException if it cannot be written
     */
    @Override
    public synchronized void close() throws IOException {
        writer.close();
        if (!Files.isRegularFile(file)) {
            return;
        }
        results.sort(Comparator.comparingInt(NaiveResult::runNum).thenComparingInt(NaiveResult::seq));
        Path target = file.toRealPath();
        Path sorted =
                Files.createTempFile(target.getParent(), target.getFileName().toString(), ".tmp");
        try {
            try (Writer out = Files.newBufferedWriter(sorted, StandardCharsets.UTF_8)) {
                FORMAT.printRecord(out, NaiveResult.COLUMN_NAMES.toArray());
                for (NaiveResult result : results) {
                    FORMAT.printRecord(out, result.columns().toArray());
                }
            }
            Files.move(sorted, target, StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(sorted);
        }
    }
}
