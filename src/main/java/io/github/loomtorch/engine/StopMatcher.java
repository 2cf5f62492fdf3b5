package io.github.loomtorch.engine;

import java.util.List;

/**
 * Finds stop strings in a text that grows, each character in amortised constant time per stop string, whatever the
 * strings are. Confined to the engine thread.
 */
final class StopMatcher {
    /*
     * The automata of Knuth, Morris and Pratt [1], one for each string: the state is the length of the longest suffix of the text that is
     * a prefix of the string.
     *
     * [1] Fast Pattern Matching in Strings, SIAM Journal on Computing 6(2), 1977
     */

    private final List<String> strings;
    private final int[][] fallback; // by string and state: the next shorter prefix that is a suffix too
    private final int[] state;

    StopMatcher(List<String> strings) {
        this.strings = strings;
        fallback = strings.stream().map(StopMatcher::fallbackOf).toArray(int[][]::new);
        state = new int[strings.size()];
    }

    private static int[] fallbackOf(String string) {
        int[] fallback = new int[string.length() + 1];
        for (int i = 1; i < string.length(); i++) {
            int length = fallback[i];
            while (length > 0 && string.charAt(i) != string.charAt(length)) {
                length = fallback[length];
            }
            fallback[i + 1] = string.charAt(i) == string.charAt(length) ? length + 1 : 0;
        }
        return fallback;
    }

    /**
     * Adds a character of the text; returns the length of the longest stop string that ends with it, 0 if none does.
     */
    int append(char c) {
        int longest = 0;
        for (int i = 0; i < state.length; i++) {
            String string = strings.get(i);
            int length = state[i];
            while (length > 0 && string.charAt(length) != c) {
                length = fallback[i][length];
            }
            if (string.charAt(length) == c) {
                length++;
            }
            if (length == string.length()) {
                longest = Math.max(longest, length);
                length = fallback[i][length];
            }
            state[i] = length;
        }
        return longest;
    }

    /** Length of the longest suffix of the text that a stop string may begin with. */
    int partial() {
        int longest = 0;
        for (int length : state) {
            longest = Math.max(longest, length);
        }
        return longest;
    }
}
