package io.github.loomtorch;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.RequestTimings;
import java.io.PrintWriter;
import java.util.List;
import java.util.Locale;

/** What the demo looks like. Thread-safe, for streams that grow at once. */
final class DemoPage {
    private static final int WIDTH = 79; // of a narrow terminal: a line that wraps could not be drawn again in place
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
        streams = prompts.stream().map(StringBuilder::new).toArray(StringBuilder[]::new);
    }

    synchronized void heading(String text) {
        out.println(styled("1", text));
        out.println();
        out.flush();
    }

    /** Shows a batch that has ended, of the prompts that come next. */
    synchronized void batch(List<Completion> completions) {
        Completion first = completions.get(0);
        int tokens = completions.stream()
                .mapToInt(completion -> completion.outputTokenIds().length)
                .sum();
        long endNanos = completions.stream()
                .mapToLong(c -> c.timings().finishedNanos())
                .max()
                .orElseThrow();
        double seconds = (endNanos - first.timings().startedNanos()) / 1e9;
        out.println("batch " + first.batchNumber() + ": "
                + format(
                        "%d prompts, %d tokens in %.2f s, %.0f tokens/s",
                        completions.size(), tokens, seconds, tokens / seconds));
        completions.forEach(completion -> text(shown++, completion.text()));
        out.println();
        out.flush();
    }

    /** Makes room for the streams. */
    synchronized void beginStreams() {
        if (isTerminal) {
            drawStreams();
        }
    }

    /**
     * Adds text to a stream. On a terminal each has its line; elsewhere they come in pieces, labelled with their
     * number.
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

    /** Shows what is left of a stream that gets no more. */
    synchronized void endStream(int i) {
        if (!isTerminal) {
            piece(i, streams[i].toString());
        }
    }

    /** Shows what the streams came to. */
    synchronized void endStreams(List<Completion> completions) {
        if (isTerminal) {
            out.print("\033[" + streams.length + "A\033[J"); // up, and clear to the end
            for (int i = 0; i < streams.length; i++) {
                text(i, completions.get(i).text());
            }
        }
        out.println();
        table(completions);
        out.flush();
    }

    private void drawStreams() {
        for (int i = 0; i < streams.length; i++) {
            String label = "  " + (i + 1) + " ";
            int room = WIDTH - label.length();
            int start = Math.max(0, streams[i].length() - room);
            out.println("\033[2K" + styled("36", label) + streams[i].substring(start)); // the line anew
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
