package io.github.loomtorch.engine;

import io.github.loomtorch.options.EngineOptions;
import java.util.ArrayList;
import java.util.List;

/**
 * Decides what the next step computes: the last token of each decoding sequence with its candidates, and as many prompt
 * tokens as the budget allows. It changes nothing. Confined to the engine thread.
 */
final class StepPlanner {
    private final int maxPrefillTokens;
    private final int maxPrefillTokensBesideDecode;
    private final boolean deterministic;
    private final boolean runsAhead;
    private final int maxDecodeRows;

    StepPlanner(CausalLm lm, EngineOptions options) {
        maxPrefillTokens = options.maxPrefillTokensPerStep();
        deterministic = lm.deterministic();
        maxPrefillTokensBesideDecode =
                deterministic ? maxPrefillTokens : Math.min(maxPrefillTokens, options.maxPrefillTokensBesideDecode());
        runsAhead = lm.runsAhead();
        maxDecodeRows = lm.maxDecodeRows();
    }

    /** The chunks of the next step, those of one token first; none if there is nothing to compute. */
    List<Chunk> next(List<Sequence> running) {
        List<Chunk> chunks = new ArrayList<>();
        boolean verifies = maxDecodeRows > running.size();
        for (Sequence sequence : running) {
            if (tokensToCompute(sequence) == 1 && sequence.candidates() == 0) {
                chunks.add(chunk(sequence, 1, verifies));
            }
        }
        boolean untouched = true; // by chunks of several tokens
        for (Sequence sequence : running) {
            if (tokensToCompute(sequence) == 1 && sequence.candidates() > 0) {
                chunks.add(chunk(sequence, 1 + sequence.candidates(), verifies));
                untouched = false;
            }
        }
        int budget = chunks.isEmpty() ? maxPrefillTokens : maxPrefillTokensBesideDecode;
        for (int i = 0; i < running.size() && budget > 0; i++) {
            Sequence sequence = running.get(i);
            int wanted = tokensToCompute(sequence);
            if (wanted > 1) {
                int count = Math.min(wanted, budget);
                boolean isCutElsewhere = deterministic && count < wanted;
                boolean wouldFollowLongerOnes = count == 1 && !untouched;
                if (isCutElsewhere || wouldFollowLongerOnes) {
                    break;
                }
                chunks.add(chunk(sequence, count, verifies));
                budget -= count;
                untouched = false;
            }
        }
        return chunks;
    }

    /** {@code verifies}: whether there is room for candidates. */
    private Chunk chunk(Sequence sequence, int count, boolean verifies) {
        boolean samples = sequence.launched() + count >= sequence.length();
        boolean needsLastToken = sequence.bansByTokens() || sequence.speculates() && verifies;
        boolean mayRunAhead = runsAhead && !(samples && needsLastToken);
        return new Chunk(sequence, sequence.launched(), count, mayRunAhead);
    }

    /**
     * How many tokens of a sequence could be computed next: 0 if the steps in flight complete it, or their results must
     * be known first. With a deterministic model the number depends on the sequence alone: a prompt is cut at multiples
     * of the budget; its tokens after the first that is scored, and output that a preempted sequence has lost, are
     * computed token by token, as if they were sampled now.
     */
    private int tokensToCompute(Sequence sequence) {
        if (sequence.awaitsResult()) {
            return 0;
        }
        int launched = sequence.launched();
        int left = Math.min(sequence.foreseenLength(), sequence.maxComputed()) - launched;
        if (left == 0) {
            return 0;
        }
        if (!deterministic) {
            return left;
        }
        int prefixLeft = sequence.prefixLength() - launched;
        return prefixLeft <= 0 ? 1 : Math.min(prefixLeft, maxPrefillTokens - launched % maxPrefillTokens);
    }
}
