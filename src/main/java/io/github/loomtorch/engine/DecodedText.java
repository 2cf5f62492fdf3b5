package io.github.loomtorch.engine;

import io.github.loomtorch.tokenizer.IncrementalDecoder;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The output text that a tokenizer decodes: whole characters only. The text ends before the stop string that is
 * complete first, wherever tokens begin and end; of several that end at one place, before the longest.
 */
final class DecodedText implements OutputText {
    private final Tokenizer tokenizer;
    private final IncrementalDecoder decoder;
    private final int[] endingIds; // ascending
    private final int vocabSize; // of the tokenizer, which may have fewer ids than the model
    private final List<String> stopStrings;
    private @Nullable StopMatcher stops; // null before the first token

    /** The first characters were taken; the rest is held back. */
    private final StringBuilder text = new StringBuilder();

    private int taken;
    private boolean stopped;

    /**
     * Text without tokens.
     *
     * @param tokenizer whose special tokens have no text
     * @param endingIds tokens that end the text and so have none, ascending; without those that are ignored
     * @param stopStrings of the request
     */
    DecodedText(Tokenizer tokenizer, int[] endingIds, List<String> stopStrings) {
        this.tokenizer = tokenizer;
        this.decoder = new IncrementalDecoder(tokenizer);
        this.endingIds = endingIds;
        this.vocabSize = tokenizer.vocabSize();
        this.stopStrings = stopStrings;
    }

    @Override
    public boolean append(int id) {
        if (Arrays.binarySearch(endingIds, id) >= 0 || id >= vocabSize || tokenizer.isSpecial(id)) {
            return false;
        }
        int end = text.length();
        text.append(decoder.append(id));
        for (; end < text.length() && !stopped; end++) {
            int stopLength = stops().append(text.charAt(end));
            if (stopLength > 0) {
                text.setLength(end + 1 - stopLength);
                stopped = true;
            }
        }
        return stopped;
    }

    /** Made with the first token: a request that waits costs no memory for it. */
    private StopMatcher stops() {
        if (stops == null) {
            stops = new StopMatcher(stopStrings);
        }
        return stops;
    }

    @Override
    public String take(boolean ended) {
        if (ended && !stopped) {
            text.append(decoder.flush());
        }
        int end = text.length() - (ended || stopped || stops == null ? 0 : stops.partial());
        String certain = text.substring(taken, end);
        taken = end;
        return certain;
    }

    @Override
    public String taken() {
        return text.substring(0, taken);
    }
}
