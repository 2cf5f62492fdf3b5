package io.github.loomtorch.engine;

import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.tokenizer.IncrementalDecoder;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.util.Arrays;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The output text that a tokenizer decodes: whole characters only. The text ends before the stop string that is
 * complete first, wherever tokens begin and end; of several that end at one place, before the longest. A request may
 * keep the stop string, and may not stop within its first tokens.
 */
final class DecodedText implements OutputText {
    private final Tokenizer tokenizer;
    private final IncrementalDecoder decoder;
    private final int[] silentIds; // ascending
    private final int vocabSize; // of the tokenizer, which may have fewer ids than the model
    private final SamplingParams sampling;
    private @Nullable StopMatcher stops; // null before the first token

    /** The first characters were taken; the rest is held back. */
    private final StringBuilder text = new StringBuilder();

    private int tokens;
    private int taken;
    private boolean stopped;

    /**
     * Text without tokens.
     *
     * @param tokenizer whose special tokens have no text
     * @param endOfTextIds have no text either, unless the request ignores them
     * @param sampling of the request
     */
    DecodedText(Tokenizer tokenizer, int[] endOfTextIds, SamplingParams sampling) {
        this.tokenizer = tokenizer;
        this.decoder = new IncrementalDecoder(tokenizer);
        this.sampling = sampling;
        this.vocabSize = tokenizer.vocabSize();
        IntStream endOfText = sampling.ignoreEos() ? IntStream.empty() : Arrays.stream(endOfTextIds);
        IntStream stops = sampling.includeStop()
                ? IntStream.empty()
                : sampling.stopTokenIds().stream().mapToInt(Integer::intValue);
        silentIds = IntStream.concat(endOfText, stops).sorted().toArray();
    }

    @Override
    public boolean append(int id) {
        tokens++;
        if (Arrays.binarySearch(silentIds, id) >= 0 || id >= vocabSize || tokenizer.isSpecial(id)) {
            return false;
        }
        int end = text.length();
        text.append(decoder.append(id));
        for (; end < text.length() && !stopped; end++) {
            int stopLength = stops().append(text.charAt(end));
            if (stopLength > 0 && tokens > sampling.minNewTokens()) {
                text.setLength(sampling.includeStop() ? end + 1 : end + 1 - stopLength);
                stopped = true;
            }
        }
        return stopped;
    }

    /** Made with the first token: a request that waits costs no memory for it. */
    private StopMatcher stops() {
        if (stops == null) {
            stops = new StopMatcher(sampling.stopStrings());
        }
        return stops;
    }

    @Override
    public String take(boolean ended) {
        if (ended && !stopped) {
            text.append(decoder.flush());
        }
        boolean allCertain = ended || stopped || sampling.includeStop();
        int end = text.length() - (allCertain || stops == null ? 0 : stops.partial());
        String certain = text.substring(taken, end);
        taken = end;
        return certain;
    }

    @Override
    public String taken() {
        return text.substring(0, taken);
    }
}
