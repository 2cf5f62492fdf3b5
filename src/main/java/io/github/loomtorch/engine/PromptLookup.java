package io.github.loomtorch.engine;

import io.github.loomtorch.request.Speculation;

/**
 * Proposes the tokens that followed where the last tokens of a text stood before, and pauses where that gains nothing.
 * Confined to the engine thread.
 */
final class PromptLookup {
    /*
     * Prompt look-up decoding [1]. A sequence that speculates cannot run ahead, because candidates need the last token, and verifies
     * rows that may be wasted. So it pauses when the average of the accepted tokens per step, the last eight steps counting most, falls
     * below a quarter; each pause is twice as long as the one before, until a trial pays off.
     *
     * [1] Prompt Lookup Decoding, https://github.com/apoorvumang/prompt-lookup-decoding
     */
    private static final double DECAY = 1.0 / 8;
    private static final double WORTHWHILE = 0.25; // accepted tokens per step
    private static final int FIRST_PAUSE = 64; // tokens

    private final Speculation speculation;
    private double average = 1; // accepted tokens per step
    private int pause = FIRST_PAUSE;
    private int resumeAt; // length of the sequence

    PromptLookup(Speculation speculation) {
        this.speculation = speculation;
    }

    /** Whether a sequence of that length speculates. */
    boolean isOn(int length) {
        return length >= resumeAt;
    }

    /** Writes up to {@code room} candidates behind the tokens of a sequence; returns how many. */
    int propose(int[] tokens, int length, int room) {
        int from = endOfLastMatch(tokens, length);
        int count = Math.min(Math.min(speculation.candidates(), room), length - from);
        for (int i = 0; i < count; i++) {
            tokens[length + i] = tokens[from + i];
        }
        return Math.max(0, count);
    }

    /** Where the last occurrence of the last n-gram before it ends; {@code length} if there is none. */
    private int endOfLastMatch(int[] tokens, int length) {
        int ngram = speculation.ngram();
        for (int end = length - 1; end >= ngram; end--) {
            int matching = 0;
            while (matching < ngram && tokens[end - 1 - matching] == tokens[length - 1 - matching]) {
                matching++;
            }
            if (matching == ngram) {
                return end;
            }
        }
        return length;
    }

    /** A step has accepted so many candidates; the sequence has that length now. */
    void verified(int acceptedCandidates, int length) {
        average += (acceptedCandidates - average) * DECAY;
        if (average >= 1) {
            pause = FIRST_PAUSE;
        } else if (average < WORTHWHILE) {
            average = 2 * WORTHWHILE;
            resumeAt = length + pause;
            pause *= 2;
        }
    }
}
