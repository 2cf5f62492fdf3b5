package io.github.loomtorch.tokenizer;

import java.util.BitSet;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.TreeMap;
import java.util.regex.Pattern;

/** Finds added tokens in text, as {@code AddedVocabulary} of Hugging Face {@code tokenizers} does. Immutable. */
final class AddedTokens {
    /*
     * Tokens that are not normalized are found in the text first. What is left between them is normalized, each part by
     * itself, and the normalized tokens are found in that. The leftmost token counts, and of those that begin at one
     * place the longest. Where special tokens are plain text they still hide shorter tokens within them.
     */

    /** Takes the parts of a text in order. */
    interface Sink {
        /** Takes normalized text without added tokens, not empty. */
        void text(String text);

        void token(int id);
    }

    private final Normalizer normalizer;
    private final Finder exact;
    private final Finder normalized;

    AddedTokens(Collection<AddedToken> tokens, Normalizer normalizer) {
        this.normalizer = normalizer;
        exact = new Finder(tokens.stream().filter(token -> !token.normalized()).toList(), Normalizer.NONE);
        normalized = new Finder(tokens.stream().filter(AddedToken::normalized).toList(), normalizer);
    }

    /** Whether a token may be found. */
    boolean canFind(boolean special) {
        return exact.canFind(special) || normalized.canFind(special);
    }

    /**
     * Splits a text.
     *
     * @param special whether special tokens are found, too
     */
    void split(String text, boolean special, Sink sink) {
        exact.split(text, special, new Sink() {
            @Override
            public void text(String part) {
                normalized.split(normalizer.apply(part), special, sink);
            }

            @Override
            public void token(int id) {
                sink.token(id);
            }
        });
    }

    /** Finds the tokens of one kind. */
    private static final class Finder {
        private static final Pattern WORD_CHARACTER = Pattern.compile("\\w", Pattern.UNICODE_CHARACTER_CLASS);

        /** What to look for, in order, so that those with a common prefix are side by side. */
        private final String[] contents;

        private final AddedToken[] tokens; // tokens[i] is found by contents[i]
        private final boolean hasOrdinary;

        /** The characters that contents begin with. */
        private final BitSet firsts = new BitSet();

        private final int onlyFirst; // if all begin with the same, -1 otherwise

        Finder(List<AddedToken> added, Normalizer normalizer) {
            TreeMap<String, AddedToken> byContent = new TreeMap<>();
            added.stream()
                    .sorted(Comparator.comparingInt(AddedToken::id))
                    .forEach(token -> byContent.putIfAbsent(normalizer.apply(token.content()), token));
            byContent.remove(""); // nothing of it may be left
            contents = byContent.keySet().toArray(String[]::new);
            tokens = byContent.values().toArray(AddedToken[]::new);
            byContent.keySet().forEach(content -> firsts.set(content.charAt(0)));
            onlyFirst = firsts.cardinality() == 1 ? firsts.nextSetBit(0) : -1;
            hasOrdinary = byContent.values().stream().anyMatch(token -> !token.special());
        }

        boolean canFind(boolean special) {
            return special ? tokens.length > 0 : hasOrdinary;
        }

        void split(String text, boolean special, Sink sink) {
            int from = 0; // of the text that was not handed on yet
            int end = text.length();
            int spaceFrom = 0; // white space that was scanned last
            int spaceEnd = 0;
            if (canFind(special)) {
                for (int at = next(text, 0); at < end; at = next(text, at)) {
                    int found = longestAt(text, at);
                    if (found < 0) {
                        at++;
                        continue;
                    }
                    AddedToken token = tokens[found];
                    int start = at;
                    int stop = at + contents[found].length();
                    at = stop;
                    if (token.special() && !special || token.singleWord() && !isWord(text, start, stop)) {
                        continue;
                    }
                    if (token.lstrip()) {
                        while (start > from && Gpt2Pattern.isWhiteSpace(text.charAt(start - 1))) {
                            start--;
                        }
                        start = Math.max(start, from); // white space of the token before it belongs to that one
                    }
                    if (token.rstrip()) {
                        if (stop < spaceFrom || stop > spaceEnd) {
                            spaceFrom = stop;
                            spaceEnd = stop;
                            while (spaceEnd < end && Gpt2Pattern.isWhiteSpace(text.charAt(spaceEnd))) {
                                spaceEnd++;
                            }
                        }
                        stop = spaceEnd;
                    }
                    if (start >= stop) {
                        continue; // the token before it has taken all of it
                    }
                    if (from < start) {
                        sink.text(text.substring(from, start));
                    }
                    sink.token(token.id());
                    from = stop;
                }
            }
            if (from < end) {
                sink.text(from == 0 ? text : text.substring(from));
            }
        }

        /** The next place at which a content may begin, the end of the text if there is none. */
        private int next(String text, int from) {
            if (onlyFirst >= 0) {
                int at = text.indexOf(onlyFirst, from);
                return at < 0 ? text.length() : at;
            }
            int at = from;
            while (at < text.length() && !firsts.get(text.charAt(at))) {
                at++;
            }
            return at;
        }

        /** The longest of {@link #contents} that begins at a place, -1 if none does. */
        private int longestAt(String text, int at) {
            int low = 0;
            int high = contents.length;
            int longest = -1;
            for (int length = 0; low < high; length++) {
                if (contents[low].length() == length) { // the shortest of those that are left
                    longest = low++;
                }
                if (at + length == text.length()) {
                    break;
                }
                char next = text.charAt(at + length);
                low = firstNotBelow(low, high, length, next);
                high = firstNotBelow(low, high, length, next + 1);
            }
            return longest;
        }

        /** The first of {@code contents[low, high)} whose character at {@code index} is not below {@code c}. */
        private int firstNotBelow(int low, int high, int index, int c) {
            int from = low;
            int to = high;
            while (from < to) {
                int middle = (from + to) >>> 1;
                if (contents[middle].charAt(index) < c) {
                    from = middle + 1;
                } else {
                    to = middle;
                }
            }
            return from;
        }

        private static boolean isWord(String text, int start, int stop) {
            return !(start > 0 && isWordCharacter(text.codePointBefore(start)))
                    && !(stop < text.length() && isWordCharacter(text.codePointAt(stop)));
        }

        private static boolean isWordCharacter(int codePoint) {
            return WORD_CHARACTER.matcher(Character.toString(codePoint)).matches();
        }
    }
}
