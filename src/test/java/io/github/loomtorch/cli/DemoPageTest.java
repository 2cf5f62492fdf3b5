package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.RequestTimings;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class DemoPageTest {
    private static final List<String> PROMPTS = List.of("First", "Second");
    private static final String WORDS = " one two three four five\n\nsix".repeat(20);

    private final StringWriter out = new StringWriter();

    private DemoPage page(boolean isTerminal) {
        return new DemoPage(new PrintWriter(out), isTerminal, PROMPTS);
    }

    private static Completion completion(String text) {
        return new Completion(
                new int[] {1},
                new int[10],
                text,
                FinishReason.LENGTH,
                0,
                List.of(),
                List.of(),
                0,
                new RequestTimings(0, 0, 1, 500_000_000, List.of()),
                3);
    }

    private static void streamWords(DemoPage page) {
        page.beginStreams();
        for (int i = 0; i < WORDS.length(); i++) {
            page.stream(i % 2, WORDS.substring(i, i + 1));
            page.stream(1 - i % 2, WORDS.substring(i, i + 1));
        }
        page.endStream(0);
        page.endStream(1);
        page.endStreams(List.of(completion(WORDS), completion(WORDS)));
    }

    @Test
    void completedTextsAreOneLineEach() {
        DemoPage page = page(false);
        page.completed(List.of(completion(" one\n\n two \n")));
        page.completed(List.of(completion("")));
        assertEquals("""
                Prompt: First
                Generated: one two

                Prompt: Second
                Generated:\s

                """, out.toString());
    }

    @Test
    void inAPipeThePiecesOfAStreamAreItsText() {
        streamWords(page(false));
        for (int i = 0; i < 2; i++) {
            String label = "  " + (i + 1) + " ";
            String text = out.toString()
                    .lines()
                    .takeWhile(line -> !line.isEmpty())
                    .filter(line -> line.startsWith(label))
                    .map(line -> line.substring(label.length()))
                    .collect(Collectors.joining(" "));
            assertEquals((PROMPTS.get(i) + WORDS).replaceAll("\\s+", " "), text);
        }
        assertTrue(
                out.toString().endsWith(String.format("  %-26s %8d %10s %10s %10s%n%n", "all", 20, "0.50 s", "", "40")),
                out.toString());
    }

    @Test
    void onATerminalEachStreamIsOneLineDrawnInPlace() {
        streamWords(page(true));
        String[] drawings = out.toString().split("\033\\[2A");
        assertEquals(2 + 2 * WORDS.length(), drawings.length); // the first, one for each text, and the end
        for (int i = 0; i < drawings.length - 1; i++) {
            List<String> lines =
                    drawings[i].replaceAll("\033\\[[0-9]*[mK]", "").lines().toList();
            assertEquals(2, lines.size());
            assertTrue(lines.stream().allMatch(line -> line.length() <= 79));
        }
        assertTrue(drawings[drawings.length - 1].startsWith("\033[J"));
    }
}
