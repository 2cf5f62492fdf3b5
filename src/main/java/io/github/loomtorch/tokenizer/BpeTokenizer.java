package io.github.loomtorch.tokenizer;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.BitSet;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Byte-level byte-pair encoding: GPT-2's, and that of other models that Hugging Face {@code tokenizers} reads from the
 * same kinds of files. Immutable and thread-safe.
 *
 * <pre>{@code
 * BpeTokenizer tokenizer = BpeTokenizer.gpt2();
 * tokenizer.encode("Hello, 世界");    // [15496, 11, 220, 10310, 244, 45911, 234]
 * tokenizer.decode(new int[] {15496}); // "Hello"
 * }</pre>
 *
 * <p>Encoding takes time and memory linear in the text, times the logarithm of its longest piece, for every text.
 *
 * <p>Ids are those of Hugging Face {@code tokenizers}, in all cases but two: a token keeps the id that the files give
 * it even if ids are missing before it, and an added token decodes to its content even if that looks like byte symbols.
 * A {@code tokenizer.json} may have these parts:
 *
 * <ul>
 *   <li>{@code added_tokens} with all their flags
 *   <li>{@code normalizer}: NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend, Replace (a string, or a regular expression
 *       of literals or of one repeated literal), or a Sequence of these
 *   <li>{@code pre_tokenizer}: ByteLevel, or a Split by GPT-2's pattern before it
 *   <li>{@code post_processor}: ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing, or a Sequence of
 *       these
 *   <li>{@code model}: BPE with {@code unk_token}, {@code fuse_unk} and {@code ignore_merges}
 * </ul>
 *
 * <p>Any other part is refused by name, except {@code truncation} and {@code padding}, which are for training and are
 * not read. Files of more than 32 MiB, more than 262,144 tokens, more than 1,048,576 merges and ids from 1,048,576 on
 * are refused, too.
 */
public final class BpeTokenizer implements Tokenizer {

    /** GPT-2's only special token. */
    static final String END_OF_TEXT = "<|endoftext|>";

    private static final Logger LOG = LoggerFactory.getLogger(BpeTokenizer.class);

    private final BpeModel model;
    private final BytePairs bytePairs;

    /** The tokens that a piece of their bytes becomes. */
    private final TokenTable words;

    private final AddedTokens addedTokens;
    private final PreTokenizer preTokenizer;
    private final PostProcessor postProcessor;
    private final boolean normalizes;
    private final boolean lossless;

    /** Ids that stand for no text. */
    private final BitSet special;

    private final int endOfTextId;
    private final AtomicBoolean warned = new AtomicBoolean();

    BpeTokenizer(
            BpeModel model,
            Collection<AddedToken> addedTokens,
            Normalizer normalizer,
            PreTokenizer preTokenizer,
            PostProcessor postProcessor,
            int endOfTextId) {
        this.model = model;
        this.addedTokens = new AddedTokens(addedTokens, normalizer);
        this.preTokenizer = preTokenizer;
        this.postProcessor = postProcessor;
        this.endOfTextId = endOfTextId;
        bytePairs = new BytePairs(model);
        BitSet declared = new BitSet();
        addedTokens.stream().filter(AddedToken::special).forEach(token -> declared.set(token.id()));
        words = words(declared);
        special = declared;
        declared.stream().filter(this::isWord).forEach(special::clear);
        normalizes = normalizer != Normalizer.NONE;
        lossless = bytePairs.coversUtf8()
                && !normalizes
                && !preTokenizer.addsPrefixSpace()
                && addedTokens.stream().noneMatch(token -> token.lstrip() || token.rstrip());
    }

    /**
     * A vocabulary may hold tokens that their own bytes do not merge to: a look-up must not find these. If merges are
     * ignored it finds them, but no special token: text must not become one.
     */
    private TokenTable words(BitSet declaredSpecial) {
        byte[][] tokens = model.tokens();
        TokenTable found = new TokenTable(tokens, model.vocabulary().size());
        BpeEncoder encoder = new BpeEncoder(model, found, bytePairs, 256);
        for (int id = 0; id < tokens.length; id++) {
            byte[] token = tokens[id];
            if (token.length == 0 || model.vocabulary().get(token, 0, token.length) != id) {
                continue;
            }
            if (model.ignoresMerges() && !declaredSpecial.get(id)) {
                found.add(id);
                continue;
            }
            encoder.merge(token, 0, token.length);
            int[] merged = encoder.takeIds();
            if (merged.length == 1 && merged[0] == id) {
                found.add(id);
            }
        }
        return found;
    }

    private boolean isWord(int id) {
        byte[] token = model.tokens()[id];
        return token.length > 0 && words.get(token, 0, token.length) == id;
    }

    /**
     * GPT-2's own tokenizer, of 50,257 tokens. Its files are on the class path; the first call reads them.
     *
     * @return one tokenizer for all callers
     */
    public static BpeTokenizer gpt2() {
        return Gpt2Holder.TOKENIZER;
    }

    private static final class Gpt2Holder {
        static final BpeTokenizer TOKENIZER;

        static {
            try {
                TOKENIZER = TokenizerFiles.readGpt2();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }

    /**
     * The tokenizer of a model: the one that its directory holds, or {@link #gpt2} if the directory has no file of a
     * tokenizer.
     *
     * @param directory of the model
     * @param modelVocabSize number of ids that the model has
     * @return the model's tokenizer
     * @throws IOException as {@link #load(Path)}, or if there is no tokenizer and the model has fewer ids than GPT-2
     */
    public static BpeTokenizer ofModel(Path directory, int modelVocabSize) throws IOException {
        if (isIn(directory) || TokenizerFiles.isOfOtherClass(directory)) {
            return load(directory);
        }
        if (modelVocabSize < gpt2().vocabSize()) {
            throw new IOException(directory + ": expected a tokenizer, because GPT-2's has " + gpt2().vocabSize()
                    + " tokens and the model " + modelVocabSize + ", got none");
        }
        return gpt2();
    }

    /**
     * Whether a directory has a file of a tokenizer of any kind; maybe {@link #load(Path)} refuses it.
     *
     * @param directory of a model or of a tokenizer
     * @return true if one of the files is there
     */
    public static boolean isIn(Path directory) {
        return fileNames().stream().anyMatch(name -> Files.exists(directory.resolve(name)));
    }

    /**
     * The names of files by which a directory has a tokenizer, also of the kinds that {@link #load(Path)} refuses.
     * Whoever copies a model must copy these: without them it would get GPT-2's tokenizer.
     *
     * @return not empty, immutable
     */
    public static List<String> fileNames() {
        return TokenizerFiles.names();
    }

    /**
     * Reads a tokenizer.
     *
     * @param path a directory with {@code tokenizer.json}, or {@code vocab.json} and {@code merges.txt}, or
     *     {@code encoder.json} and {@code vocab.bpe} (the first of these that is there is read), and maybe
     *     {@code tokenizer_config.json}, {@code special_tokens_map.json} and {@code added_tokens.json}; or a file in
     *     the format of {@code tokenizer.json}
     * @return a new tokenizer
     * @throws IOException if a file is missing, malformed or too large, or describes another kind of tokenizer; the
     *     message says where
     */
    public static BpeTokenizer load(Path path) throws IOException {
        return TokenizerFiles.read(path);
    }

    /**
     * Reads a tokenizer from its two files.
     *
     * @param vocabulary JSON object of tokens, in byte symbols, and their ids ({@code vocab.json})
     * @param merges a line for each pair of symbols to merge, first things first ({@code merges.txt})
     * @return a new tokenizer
     * @throws IOException if a file is missing or malformed; the message says where
     */
    public static BpeTokenizer load(Path vocabulary, Path merges) throws IOException {
        return TokenizerFiles.read(vocabulary, merges, TokenizerConfig.none());
    }

    @Override
    public int[] encode(String text) {
        return encode(text, false);
    }

    @Override
    public int[] encodeWithSpecialTokens(String text) {
        return encode(text, true);
    }

    private int[] encode(String text, boolean honoursSpecial) {
        // most text has fewer than one token in three bytes
        BpeEncoder encoder = new BpeEncoder(model, words, bytePairs, text.length() / 3 + 8);
        for (int id : postProcessor.before()) {
            encoder.add(id);
        }
        if (normalizes || addedTokens.canFind(honoursSpecial)) {
            addedTokens.split(text, honoursSpecial, new AddedTokens.Sink() {
                @Override
                public void text(String part) {
                    preTokenizer.encode(part.getBytes(UTF_8), encoder);
                }

                @Override
                public void token(int id) {
                    encoder.add(id);
                }
            });
        } else if (!text.isEmpty()) {
            preTokenizer.encode(text.getBytes(UTF_8), encoder);
        }
        for (int id : postProcessor.after()) {
            encoder.add(id);
        }
        if (encoder.lostBytes() && !warned.getAndSet(true)) {
            LOG.warn("the vocabulary lacks bytes that a text has; they are {}; this is said once", lostByteRule());
        }
        return encoder.takeIds();
    }

    private String lostByteRule() {
        return model.unknownId() < 0 ? "dropped" : "replaced by the unknown token, id " + model.unknownId();
    }

    @Override
    public String decode(int[] ids) {
        long length = 0;
        for (int id : ids) {
            length += tokenBytes(id).length;
        }
        byte[] utf8 = new byte[(int) Math.min(length, Integer.MAX_VALUE)]; // if it is more: OutOfMemoryError
        int end = 0;
        for (int id : ids) {
            byte[] token = model.tokens()[id];
            System.arraycopy(token, 0, utf8, end, token.length);
            end += token.length;
        }
        return Utf8.decode(utf8, 0, end);
    }

    @Override
    public byte[] tokenBytes(int id) {
        requireId(id);
        return model.tokens()[id];
    }

    private void requireId(int id) {
        if (id < 0 || id >= vocabSize()) {
            throw new IllegalArgumentException("token id must be in [0, " + vocabSize() + "), got " + id);
        }
    }

    @Override
    public int vocabSize() {
        return model.tokens().length;
    }

    @Override
    public boolean isSpecial(int id) {
        requireId(id);
        return special.get(id);
    }

    @Override
    public boolean isLossless() {
        return lossless;
    }

    @Override
    public int endOfTextId() {
        return endOfTextId;
    }
}
