package io.github.loomtorch.cli;

import java.util.Collection;
import java.util.Comparator;
import java.util.Optional;

/** Finds the name that a mistyped word was probably meant to be. */
final class Suggestion {
    private Suggestion() {}

    /** The name of the least edit distance; empty if that is more than 2 of 5 letters. */
    static Optional<String> nearest(String word, Collection<String> names) {
        int most = word.replaceFirst("^-+", "").length() * 2 / 5;
        return names.stream()
                .filter(name -> distance(word, name) <= most)
                .min(Comparator.comparingInt((String name) -> distance(word, name))
                        .thenComparing(Comparator.naturalOrder()));
    }

    /** Edit distance (Levenshtein), but characters after the end of a prefix count only once all together. */
    private static int distance(String word, String name) {
        if (word.length() >= 3 && name.startsWith(word)) {
            return word.equals(name) ? 0 : 1;
        }
        int[] row = new int[name.length() + 1]; // distances from word's beginning to each beginning of name
        for (int j = 0; j <= name.length(); j++) {
            row[j] = j;
        }
        for (int i = 1; i <= word.length(); i++) {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= name.length(); j++) {
                int replaced = diagonal + (word.charAt(i - 1) == name.charAt(j - 1) ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.min(replaced, 1 + Math.min(row[j], row[j - 1]));
            }
        }
        return row[name.length()];
    }
}
