package io.github.loomtorch.torch.program;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.WantedPosition;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * What a prefill has room for, and how its input lies in memory, as ints: tokens [N], their positions [N] and the rows
 * of the cache that they are written to [N], -1 for padding; where each sequence's new tokens end, after a 0 [P + 1],
 * and where the tokens that it reads end, after a 0 [P + 1]; which of the N tokens have their logits wanted [up to W];
 * the rows of the tokens read [S]. Padding stands behind the tokens and belongs to no sequence; if there are fewer than
 * P sequences, the others are empty. Immutable.
 *
 * @param tokens N, new ones
 * @param sequences P
 * @param longest most new tokens of one sequence
 * @param readRows S, or 0 if all sequences start here, so that they read what is new
 * @param longestRead most tokens that one sequence reads
 * @param wanted W, tokens whose logits are wanted
 */
public record PrefillShape(int tokens, int sequences, int longest, int readRows, int longestRead, int wanted) {
    /**
     * Sequences of a recorded prefill that is not for one alone. Its attention has blocks for as many of the longest,
     * which cost time.
     */
    private static final int SEQUENCES = 16;

    private static final int PADDING = -1;

    /** Of just these chunks. */
    public static PrefillShape of(List<Chunk> chunks) {
        int tokens = 0;
        int longest = 0;
        int read = 0;
        int longestRead = 0;
        int wanted = 0;
        for (Chunk chunk : chunks) {
            tokens += chunk.count();
            longest = Math.max(longest, chunk.count());
            read += chunk.end();
            longestRead = Math.max(longestRead, chunk.end());
            wanted += chunk.wantedPositions().size();
        }
        return new PrefillShape(tokens, chunks.size(), longest, read == tokens ? 0 : read, longestRead, wanted);
    }

    /** Of prompts of one length. */
    public static PrefillShape of(int prompts, int promptLength) {
        return new PrefillShape(prompts * promptLength, prompts, promptLength, 0, promptLength, prompts);
    }

    /**
     * Those worth recording, of which the first that has room for a prefill is the best for it.
     *
     * @param tokenCounts numbers of tokens to record, ascending
     * @param contextLength most tokens of one sequence
     */
    public static List<PrefillShape> recorded(List<Integer> tokenCounts, int contextLength) {
        List<PrefillShape> shapes = new ArrayList<>();
        for (int tokens : tokenCounts) {
            int longest = Math.min(tokens, contextLength);
            if (tokens <= contextLength) {
                shapes.add(new PrefillShape(tokens, 1, longest, 0, longest, tokens));
            }
            shapes.add(new PrefillShape(tokens, SEQUENCES, longest, 0, longest, tokens));
        }
        return shapes;
    }

    /** Whether all that another prefill computes can be computed as one of this shape. */
    public boolean hasRoomFor(PrefillShape other) {
        return other.readRows == 0
                && other.tokens <= tokens
                && other.sequences <= sequences
                && other.longest <= longest
                && other.wanted <= wanted;
    }

    public int positionsAt() {
        return tokens;
    }

    public int writeRowsAt() {
        return 2 * tokens;
    }

    public int newEndsAt() {
        return 3 * tokens;
    }

    public int readEndsAt() {
        return newEndsAt() + sequences + 1;
    }

    public int wantedAt() {
        return readEndsAt() + sequences + 1;
    }

    public int readRowsAt() {
        return wantedAt() + wanted;
    }

    /** All of them. */
    public int ints() {
        return readRowsAt() + readRows;
    }

    /** Puts the input of a prefill of these chunks, for which there is room. */
    public void put(IntBuffer buffer, List<Chunk> chunks, int pageSize) {
        int token = 0;
        int read = 0;
        int wantedTokens = 0;
        buffer.put(newEndsAt(), 0);
        buffer.put(readEndsAt(), 0);
        for (int i = 0; i < chunks.size(); i++) {
            Chunk chunk = chunks.get(i);
            Sequence sequence = chunk.sequence();
            int end = chunk.end();
            for (int position = chunk.start(); position < end; position++) {
                putToken(buffer, token++, sequence.tokens()[position], position, (int)
                        KvCache.row(sequence, position, pageSize));
            }
            if (readRows > 0) {
                for (int position = 0; position < end; position++) {
                    buffer.put(readRowsAt() + read + position, (int) KvCache.row(sequence, position, pageSize));
                }
            }
            read += end;
            putEnds(buffer, i, token, read);
            for (WantedPosition position : chunk.wantedPositions()) {
                buffer.put(wantedAt() + wantedTokens++, token - end + position.position());
            }
        }
        pad(buffer, token, chunks.size());
    }

    /** Puts synthetic prompts, whose tokens go to the first rows of the cache. */
    public void putSynthetic(IntBuffer buffer, int prompts, int promptLength, int vocabSize) {
        int token = 0;
        buffer.put(newEndsAt(), 0);
        buffer.put(readEndsAt(), 0);
        for (int i = 0; i < prompts; i++) {
            for (int position = 0; position < promptLength; position++) {
                putToken(buffer, token, token % vocabSize, position, token);
                token++;
            }
            putEnds(buffer, i, token, token);
            buffer.put(wantedAt() + i, token - 1);
        }
        pad(buffer, token, prompts);
    }

    private void putToken(IntBuffer buffer, int token, int id, int position, int row) {
        buffer.put(token, id);
        buffer.put(positionsAt() + token, position);
        buffer.put(writeRowsAt() + token, row);
    }

    private void putEnds(IntBuffer buffer, int sequence, int newEnd, int readEnd) {
        buffer.put(newEndsAt() + sequence + 1, newEnd);
        buffer.put(readEndsAt() + sequence + 1, readEnd);
    }

    private void pad(IntBuffer buffer, int usedTokens, int usedSequences) {
        for (int token = usedTokens; token < tokens; token++) {
            putToken(buffer, token, 0, 0, PADDING);
        }
        int newEnd = buffer.get(newEndsAt() + usedSequences);
        int readEnd = buffer.get(readEndsAt() + usedSequences);
        for (int sequence = usedSequences; sequence < sequences; sequence++) {
            putEnds(buffer, sequence, newEnd, readEnd);
        }
    }
}
