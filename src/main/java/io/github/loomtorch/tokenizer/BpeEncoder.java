package io.github.loomtorch.tokenizer;

import java.util.Arrays;

/** Encodes the text of one call: collects its ids and holds its scratch space. Confined to one thread. */
final class BpeEncoder {
    /*
     * One look-up finds a piece that is a token. Any other piece is cut between bytes that are adjacent in no token, because no merge
     * crosses such a place: text in scripts that are rare in the vocabulary falls into characters. A part that is no token either is
     * merged from its bytes: always the pair of the lowest rank, and of equal ranks the leftmost.
     *
     * For a short part the ranks are in an array, which is scanned for each merge. A long part would take quadratic time that way: a
     * tree of minima over its positions finds and applies each merge in O(log n).
     *
     * If the vocabulary lacks bytes, those of a piece are dropped or replaced first, and the piece is not cut: a merge may join what
     * was on both sides of a dropped byte.
     */

    /** Longest part, in bytes, that is merged by scanning. */
    private static final int SCANNED_BYTES = 64;

    private final TokenTable words;
    private final MergeTable merges;
    private final BytePairs bytePairs;

    private final int[] pieceIds = new int[SCANNED_BYTES];
    private final long[] pieceMerges = new long[SCANNED_BYTES];

    private final int unknownId;
    private final boolean fusesUnknown;
    private final boolean ignoresMerges;
    private boolean lostBytes;

    private int[] ids;
    private int count;

    /**
     * An encoder without ids yet.
     *
     * @param words tokens that a piece of their bytes becomes
     * @param capacity initial capacity, in ids
     */
    BpeEncoder(BpeModel model, TokenTable words, BytePairs bytePairs, int capacity) {
        this.words = words;
        this.bytePairs = bytePairs;
        merges = model.merges();
        unknownId = model.unknownId();
        fusesUnknown = model.fusesUnknown();
        ignoresMerges = model.ignoresMerges();
        ids = new int[capacity];
    }

    /** Splits well-formed UTF-8 by GPT-2's pattern and encodes the pieces. */
    void encode(byte[] utf8) {
        for (int start = 0; start < utf8.length; ) {
            int end = Gpt2Pattern.pieceEnd(utf8, start);
            encodePiece(utf8, start, end);
            start = end;
        }
    }

    /** Encodes one piece of well-formed UTF-8. */
    void encodePiece(byte[] utf8, int start, int end) {
        int word = words.get(utf8, start, end);
        if (word >= 0) {
            add(word);
        } else if (bytePairs.coversUtf8()) {
            encodeParts(utf8, start, end);
        } else {
            merge(utf8, start, end);
        }
    }

    /** Whether the text held a byte that the vocabulary lacks. */
    boolean lostBytes() {
        return lostBytes;
    }

    private void encodeParts(byte[] utf8, int start, int end) {
        for (int i = start + 1; i <= end; i++) {
            if (i == end || !bytePairs.inToken(utf8[i - 1], utf8[i])) {
                int word = ignoresMerges ? -1 : words.get(utf8, start, i); // then only a whole piece is looked up
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
        if (!bytePairs.coversUtf8()) {
            mergeKnown(utf8, start, end);
        } else if (end - start <= SCANNED_BYTES) {
            mergeByScan(utf8, start, end);
        } else {
            int[] piece = new int[end - start];
            for (int i = 0; i < piece.length; i++) {
                piece[i] = bytePairs.id(utf8[start + i]);
            }
            mergeByTree(piece, piece.length);
        }
    }

    /** Drops or replaces the bytes that have no token, and merges the rest. */
    private void mergeKnown(byte[] utf8, int start, int end) {
        int[] piece = new int[end - start];
        int length = 0;
        boolean unknown = false; // whether the last byte was
        for (int i = start; i < end; i++) {
            int id = bytePairs.id(utf8[i]);
            if (id >= 0) {
                piece[length++] = id;
                unknown = false;
            } else {
                if (unknownId >= 0 && !(unknown && fusesUnknown)) {
                    piece[length++] = unknownId;
                }
                unknown = true;
                lostBytes = true;
            }
        }
        mergeByTree(piece, length);
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

    /**
     * Merges {@code piece[0, length)}.
     *
     * @param piece the token that begins at a position, if one does; changed
     */
    private void mergeByTree(int[] piece, int length) {
        int[] next = new int[length]; // positions of the neighbouring tokens
        int[] previous = new int[length];
        for (int i = 0; i < length; i++) {
            next[i] = i + 1;
            previous[i] = i - 1;
        }
        RankTree ranks = new RankTree(length);
        for (int i = 0; i + 1 < length; i++) {
            ranks.init(i, rank(piece[i], piece[i + 1]));
        }
        ranks.build();
        for (int at = ranks.leftmostLowest(); at >= 0; at = ranks.leftmostLowest()) {
            int right = next[at];
            int after = next[right];
            piece[at] = (int) merges.get(piece[at], piece[right]);
            next[at] = after;
            ranks.set(right, RankTree.NONE);
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
     * The rank of the merge at each position, and their minima in a binary tree: node n is the minimum of nodes 2n and
     * 2n + 1.
     */
    private static final class RankTree {

        static final int NONE = (int) (MergeTable.NONE >>> 32);

        private final int[] nodes;
        private final int leaves;

        RankTree(int length) {
            leaves = length < 2 ? 1 : Integer.highestOneBit(length - 1) << 1;
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
