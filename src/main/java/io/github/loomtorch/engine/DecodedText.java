package io.github.loomtorch.engine;

import io.github.loomtorch.tokenizer.IncrementalDecoder;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.util.Arrays;
import java.util.List;

/** The output text that a tokenizer decodes: whole characters only, and stop strings are found across token borders. */
final class DecodedText implements OutputText {
    private final Tokenizer tokenizer;
    private final IncrementalDecoder decoder;
    private final int[] endOfTextIds; // ascending
    private final int vocabSize; // of the tokenizer, which may have fewer ids than the model
    private final List<String> stopStrings;

    /** Starts with what was taken; the rest is held back. */
    private final StringBuilder text = new StringBuilder();

    private int taken;
    private boolean stopped;

    DecodedText(Tokenizer tokenizer, int[] endOfTextIds, List<String> stopStrings) {
        this.tokenizer = tokenizer;
        this.decoder = new IncrementalDecoder(tokenizer);
        this.endOfTextIds = endOfTextIds;
        this.vocabSize = tokenizer.vocabSize();
        this.stopStrings = stopStrings;
    }

    @Override
    public boolean append(int id) {
        if (Arrays.binarySearch(endOfTextIds, id) >= 0 || id >= vocabSize || tokenizer.isSpecial(id)) {
            return false;
        }
        text.append(decoder.append(id));
        int stop = -1;
        for (String stopString : stopStrings) {
            int start = text.indexOf(stopString, taken); // what was taken cannot be the beginning of one
            if (start >= 0 && (stop < 0 || start < stop)) {
                stop = start;
            }
        }
        if (stop >= 0) {
            text.setLength(stop);
            stopped = true;
        }
        return stopped;
    }

    @Override
    public String take(boolean ended) {
        if (ended && !stopped) {
            text.append(decoder.flush());
        }
        int end = text.length() - (ended ? 0 : heldBack());
        String certain = text.substring(taken, end);
        taken = end;
        return certain;
    }

    @Override
    public String taken() {
        return text.substring(0, taken);
    }

    /** Length of the longest end of the text that a stop string begins with. */
    private int heldBack() {
        int longest = 0;
        for (String stopString : stopStrings) {
            int length = Math.min(stopString.length() - 1, text.length() - taken);
            while (length > longest && !endsWith(stopString, length)) {
                length--;
            }
            longest = Math.max(longest, length);
        }
        return longest;
    }

    private boolean endsWith(String stopString, int length) {
        int start = text.length() - length;
        for (int i = 0; i < length; i++) {
            if (text.charAt(start + i) != stopString.charAt(i)) {
                return false;
            }
        }
        return true;
    }
}
