package io.github.loomtorch.tokenizer;

import java.util.Arrays;

/** Encodes the text of one call: collects its ids and holds its scratch space. Confined to one thread. */
final class BpeEncoder {
    /*
     * A piece that is a token is found by one look-up. Otherwise it is cut between bytes that no token holds side by side, as no merge
     * can reach across: so text in scripts that GPT-2 knows little of falls into characters. A part that is no token either is merged
     * from its bytes, always the leftmost pair of the lowest rank.
     *
     * Short parts keep ranks in an array and scan it for each merge. For long ones that would be quadratic: a tree of minima over the
     * positions finds the next merge, and repairs itself after it, in O(log n).
     */

    /** Longest part, in bytes, that is merged by scanning. */
    private static final int SCANNED_BYTES = 64;

    private final TokenTable words;
    private final MergeTable merges;
    private final BytePairs bytePairs;

    private final int[] pieceIds = new int[SCANNED_BYTES];
    private final long[] pieceMerges = new long[SCANNED_BYTES];

    private int[] ids;
    private int count;

    /**
     * An encoder without ids yet.
     *
     * @param words tokens that merging their bytes leads to
     * @param capacity ids to make room for at first
     */
    BpeEncoder(TokenTable words, MergeTable merges, BytePairs bytePairs, int capacity) {
        this.words = words;
        this.merges = merges;
        this.bytePairs = bytePairs;
        ids = new int[capacity];
    }

    /** Splits and encodes well-formed UTF-8. */
    void encode(byte[] utf8) {
        for (int start = 0; start < utf8.length; ) {
            int end = Pretokenizer.pieceEnd(utf8, start);
            int word = words.get(utf8, start, end);
            if (word >= 0) {
                add(word);
            } else {
                encodeParts(utf8, start, end);
            }
            start = end;
        }
    }

    private void encodeParts(byte[] utf8, int start, int end) {
        for (int i = start + 1; i <= end; i++) {
            if (i == end || !bytePairs.inToken(utf8[i - 1], utf8[i])) {
                int word = words.get(utf8, start, i);
                if (word >= 0) {
                    add(word);
                } else {
                    merge(utf8, start, i);
                }
                start = i;
            }
        }
    }

    /** Encodes one part by its merges alone. */
    void merge(byte[] utf8, int start, int end) {
        if (end - start <= SCANNED_BYTES) {
            mergeByScan(utf8, start, end);
        } else {
            mergeByTree(utf8, start, end);
        }
    }

    /** Adds one id. */
    void add(int id) {
        if (count == ids.length) {
            ids = Arrays.copyOf(ids, (int) Math.min(2L * count + 16, Integer.MAX_VALUE - 8));
        }
        ids[count++] = id;
    }

    /** The ids so far; they are forgotten here. */
    int[] takeIds() {
        int[] taken = Arrays.copyOf(ids, count);
        count = 0;
        return taken;
    }

    private void mergeByScan(byte[] utf8, int start, int end) {
        int[] piece = pieceIds;
        long[] pairs = pieceMerges; // pairs[i] is the merge of piece[i] and piece[i + 1]
        int last = end - start - 1;
        piece[0] = bytePairs.id(utf8[start]);
        for (int i = 0; i < last; i++) {
            piece[i + 1] = bytePairs.id(utf8[start + i + 1]);
            pairs[i] = bytePairs.merge(utf8[start + i], utf8[start + i + 1]);
        }
        while (true) {
            long best = MergeTable.NONE;
            int at = 0;
            for (int i = 0; i < last; i++) {
                if (pairs[i] < best) {
                    best = pairs[i];
                    at = i;
                }
            }
            if (best == MergeTable.NONE) {
                break;
            }
            piece[at] = (int) best;
            last--;
            System.arraycopy(piece, at + 2, piece, at + 1, last - at);
            if (at < last) {
                System.arraycopy(pairs, at + 2, pairs, at + 1, last - at - 1);
                pairs[at] = merges.get(piece[at], piece[at + 1]);
            }
            if (at > 0) {
                pairs[at - 1] = merges.get(piece[at - 1], piece[at]);
            }
        }
        for (int i = 0; i <= last; i++) {
            add(piece[i]);
        }
    }

    private void mergeByTree(byte[] utf8, int start, int end) {
        int length = end - start;
        int[] piece = new int[length]; // token that begins at a position, if one does
        int[] next = new int[length]; // positions of the neighbouring tokens
        int[] previous = new int[length];
        for (int i = 0; i < length; i++) {
            piece[i] = bytePairs.id(utf8[start + i]);
            next[i] = i + 1;
            previous[i] = i - 1;
        }
        RankTree ranks = new RankTree(length);
        for (int i = 0; i + 1 < length; i++) {
            ranks.init(i, rank(piece[i], piece[i + 1]));
        }
        ranks.build();
        for (int at = ranks.leftmostLowest(); at >= 0; at = ranks.leftmostLowest()) {
            int eaten = next[at];
            int after = next[eaten];
            piece[at] = (int) merges.get(piece[at], piece[eaten]);
            next[at] = after;
            ranks.set(eaten, RankTree.NONE);
            if (after < length) {
                previous[after] = at;
                ranks.set(at, rank(piece[at], piece[after]));
            } else {
                ranks.set(at, RankTree.NONE);
            }
            int before = previous[at];
            if (before >= 0) {
                ranks.set(before, rank(piece[before], piece[at]));
            }
        }
        for (int i = 0; i < length; i = next[i]) {
            add(piece[i]);
        }
    }

    private int rank(int left, int right) {
        return (int) (merges.get(left, right) >>> 32);
    }

    /**
     * The rank of the merge at each position, and the least of them in a binary tree: node n is the lesser of nodes 2n
     * and 2n + 1.
     */
    private static final class RankTree {

        static final int NONE = (int) (MergeTable.NONE >>> 32);

        private final int[] nodes;
        private final int leaves;

        RankTree(int length) {
            leaves = Integer.highestOneBit(length - 1) << 1;
            nodes = new int[2 * leaves];
            Arrays.fill(nodes, leaves, nodes.length, NONE);
        }

        /** Sets a rank before {@link #build}. */
        void init(int position, int rank) {
            nodes[leaves + position] = rank;
        }

        void build() {
            for (int n = leaves - 1; n > 0; n--) {
                nodes[n] = Math.min(nodes[2 * n], nodes[2 * n + 1]);
            }
        }

        void set(int position, int rank) {
            int n = leaves + position;
            nodes[n] = rank;
            while (n > 1) {
                int least = Math.min(nodes[n], nodes[n ^ 1]);
                n >>= 1;
                if (nodes[n] == least) {
                    return;
                }
                nodes[n] = least;
            }
        }

        /** The first position of the lowest rank, -1 if no merge is left. */
        int leftmostLowest() {
            int lowest = nodes[1];
            if (lowest == NONE) {
                return -1;
            }
            int n = 1;
            while (n < leaves) {
                n *= 2;
                if (nodes[n] != lowest) {
                    n++;
                }
            }
            return n - leaves;
        }
    }
}
