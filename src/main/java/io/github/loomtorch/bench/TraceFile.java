package io.github.loomtorch.bench;

import java.io.IOException;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.commons.csv.CSVFormat;
import org.apache.commons.csv.CSVParser;
import org.apache.commons.csv.CSVRecord;

/** Reads requests from a file of comma-separated values: when each arrived, and how long it was. */
public final class TraceFile {
    private static final String ARRIVAL = "arrival_seconds";
    private static final String INPUT = "input_tokens";
    private static final String OUTPUT = "output_tokens";

    private TraceFile() {}

    /**
     * Reads a file.
     *
     * @param file with a header; columns {@code arrival_seconds}, {@code input_tokens} and {@code output_tokens} in any
     *     order, others are ignored
     * @return at least one row, arrivals ascending
     * @throws IOException naming the line and the column, if a value is missing or wrong
     */
    public static List<PlannedRequest> read(Path file) throws IOException {
        CSVFormat format = CSVFormat.RFC4180
                .builder()
                .setHeader()
                .setSkipHeaderRecord(true)
                .setTrim(true)
                .get();
        List<PlannedRequest> rows = new ArrayList<>();
        try (Reader reader = Files.newBufferedReader(file, StandardCharsets.UTF_8);
                CSVParser csv =
                        CSVParser.builder().setReader(reader).setFormat(format).get()) {
            for (String column : List.of(ARRIVAL, INPUT, OUTPUT)) {
                if (!csv.getHeaderNames().contains(column)) {
                    throw new IOException(file + ": expected columns " + ARRIVAL + ", " + INPUT + " and " + OUTPUT
                            + ", got " + String.join(", ", csv.getHeaderNames()));
                }
            }
            double last = 0;
            for (CSVRecord record : csv) {
                String place = file + " line " + csv.getCurrentLineNumber();
                double arrival = number(record, ARRIVAL, place);
                if (!(arrival >= last && arrival < 1e9)) {
                    throw new IOException(place + ": " + ARRIVAL + " must be in [" + last
                            + ", 1e9), as arrivals ascend, got " + record.get(ARRIVAL));
                }
                last = arrival;
                rows.add(new PlannedRequest(arrival, tokens(record, INPUT, place), tokens(record, OUTPUT, place)));
            }
        } catch (IllegalArgumentException | UncheckedIOException e) { // of a header with a name twice, or of quotes
            throw new IOException(file + ": is not CSV: " + e.getMessage(), e);
        }
        if (rows.isEmpty()) {
            throw new IOException(file + ": expected a request on each line after the header, got none");
        }
        return rows;
    }

    private static int tokens(CSVRecord record, String column, String place) throws IOException {
        double value = number(record, column, place);
        if (value != Math.rint(value) || value < 1 || value > Integer.MAX_VALUE) {
            throw new IOException(place + ": " + column + " must be an integer >= 1, got " + record.get(column));
        }
        return (int) value;
    }

    private static double number(CSVRecord record, String column, String place) throws IOException {
        String text = record.isSet(column) ? record.get(column) : "";
        if (text.isEmpty()) {
            throw new IOException(place + ": " + column + " must be a number, got nothing");
        }
        try {
            return Double.parseDouble(text);
        } catch (NumberFormatException e) {
            throw new IOException(place + ": " + column + " must be a number, got " + text, e);
        }
    }
}
