package io.github.loomtorch.cli;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.RequestTimings;
import java.io.PrintWriter;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** Prints the demo. Thread-safe: streams may grow at the same time. */
final class DemoPage {
    private static final int WIDTH = 79; // a line that wraps could not be drawn again in place
    private static final int PIECE_LENGTH = 66;

    private final PrintWriter out;
    private final boolean isTerminal;
    private final List<String> prompts;
    private final StringBuilder[] streams;
    private int shown;

    DemoPage(PrintWriter out, boolean isTerminal, List<String> prompts) {
        this.out = out;
        this.isTerminal = isTerminal;
        this.prompts = prompts;
        streams = new StringBuilder[prompts.size()];
    }

    synchronized void heading(String text) {
        out.println(styled("1", text));
        out.println();
        out.flush();
    }

    synchronized void line(String text) {
        out.println(text);
        out.flush();
    }

    /** Shows the texts of the next prompts as the original does. */
    synchronized void completed(List<Completion> completions) {
        for (Completion completion : completions) {
            out.println("Prompt: " + prompts.get(shown++));
            out.println("Generated: " + oneLine(completion.text()).strip());
            out.println();
        }
        out.flush();
    }

    /** Starts a stream for each prompt. */
    synchronized void beginStreams() {
        Arrays.setAll(streams, i -> new StringBuilder(prompts.get(i)));
        if (isTerminal) {
            drawStreams();
        }
    }

    /**
     * Adds text to a stream. On a terminal each stream has a line that grows; elsewhere its pieces are lines that begin
     * with its number.
     */
    synchronized void stream(int i, String text) {
        StringBuilder stream = streams[i];
        boolean endsInSpace = stream.charAt(stream.length() - 1) == ' ';
        stream.append(endsInSpace ? oneLine(text).stripLeading() : oneLine(text));
        if (isTerminal) {
            out.print("\033[" + streams.length + "A"); // up to the first of them
            drawStreams();
        } else if (stream.length() >= PIECE_LENGTH && stream.lastIndexOf(" ") > 0) {
            int end = stream.lastIndexOf(" ");
            piece(i, stream.substring(0, end));
            stream.delete(0, end);
        }
    }

    /** Shows the last piece of a stream. */
    synchronized void endStream(int i) {
        if (!isTerminal) {
            piece(i, streams[i].toString());
        }
    }

    /** Shows the texts and a table of their times. */
    synchronized void endStreams(List<Completion> completions) {
        if (isTerminal) {
            out.print("\033[" + streams.length + "A\033[J"); // up, and clear to the end
            for (int i = 0; i < streams.length; i++) {
                text(i, completions.get(i).text());
            }
        }
        out.println();
        table(completions);
        out.println();
        out.flush();
    }

    private void drawStreams() {
        for (int i = 0; i < streams.length; i++) {
            String label = "  " + (i + 1) + " ";
            int room = WIDTH - label.length();
            int start = Math.max(0, streams[i].length() - room);
            out.println("\033[2K" + styled("36", label) + streams[i].substring(start)); // clear the line
        }
        out.flush();
    }

    private void piece(int i, String text) {
        out.println("  " + (i + 1) + " " + text.strip());
        out.flush();
    }

    private void table(List<Completion> completions) {
        String row = "  %-26s %8s %10s %10s %10s%n";
        out.print(styled("2", format(row, "", "tokens", "latency", "TTFT", "tokens/s")));
        int tokens = 0;
        long startNanos = Long.MAX_VALUE;
        long endNanos = Long.MIN_VALUE;
        for (int i = 0; i < completions.size(); i++) {
            RequestTimings timings = completions.get(i).timings();
            int count = completions.get(i).outputTokenIds().length;
            double latency = timings.e2elNanos() / 1e9;
            double ttft = timings.ttftNanos() / 1e9;
            String name = (i + 1) + " " + prompts.get(i);
            out.print(format(
                    row,
                    name,
                    count,
                    format("%.2f s", latency),
                    format("%.2f s", ttft),
                    format("%.0f", count / latency)));
            tokens += count;
            startNanos = Math.min(startNanos, timings.submittedNanos());
            endNanos = Math.max(endNanos, timings.finishedNanos());
        }
        double seconds = (endNanos - startNanos) / 1e9;
        out.print(styled(
                "1", format(row, "all", tokens, format("%.2f s", seconds), "", format("%.0f", tokens / seconds))));
    }

    /** The prompt and what follows it, in lines of the page's width. */
    private void text(int i, String text) {
        String label = "  " + (i + 1) + " ";
        String all = prompts.get(i) + oneLine(text);
        for (int start = 0; start < all.length(); ) {
            int end = Math.min(all.length(), start + WIDTH - label.length());
            if (end < all.length()) {
                int space = all.lastIndexOf(' ', end);
                end = space > start ? space : end;
            }
            String line = all.substring(start, end).strip();
            out.println(styled("36", label)
                    + (start == 0
                            ? styled("1", prompts.get(i))
                                    + line.substring(prompts.get(i).length())
                            : line));
            label = "    ";
            start = end;
        }
    }

    private static String oneLine(String text) {
        return text.replaceAll("\\s+", " ");
    }

    private String styled(String code, String text) {
        return isTerminal ? "\033[" + code + "m" + text + "\033[0m" : text;
    }

    private static String format(String format, Object... args) {
        return String.format(Locale.ROOT, format, args);
    }
}
