package io.github.loomtorch.bench;

import java.util.List;
import java.util.stream.IntStream;

/** Texts to continue, of different lengths and kinds, one line each. */
public final class Prompts {
    private static final List<String> ALL = List.of(
            "The future of AI is",
            "Once upon a time",
            "In a galaxy far away",
            "Python is great because",
            "Data science is",
            "The old lighthouse keeper climbed the stairs one last time, and",
            "To make a good cup of tea, first",
            "Dear Sir or Madam, I am writing to you about",
            "\"Who is there?\" she whispered, and the door",
            "The capital of France is",
            "Three things are needed to build a bridge:",
            "It was the coldest winter that anyone in the village could remember. The river had frozen in November, and by the"
                    + " new year the wolves were coming down from the hills. One evening",
            "Water boils when",
            "My grandmother always said that",
            "The train left the station at",
            "Q: Why is the sky blue? A:",
            "Scientists have discovered a new species of",
            "public static void main(String[] args) {",
            "The recipe calls for two cups of flour, one egg and",
            "Nobody had told the captain that",
            "Breaking news: the city council has voted to",
            "Roses are red, violets are blue,",
            "The difference between a virtual thread and a platform thread is",
            "In 1969, for the first time,",
            "He opened the letter slowly. It said:",
            "The best way to learn a language is",
            "Once there was a king who had three daughters. The eldest was clever, the second was brave, and the youngest",
            "Music is",
            "If I had a million dollars, I would",
            "And so, after all these years, they finally");

    private Prompts() {}

    /**
     * The first prompts, and again from the first when they run out.
     *
     * @param count how many, &gt;= 0
     * @return texts; the first 30 are different
     */
    public static List<String> of(int count) {
        return IntStream.range(0, count).mapToObj(i -> ALL.get(i % ALL.size())).toList();
    }
}
