package io.github.loomtorch.tokenizer;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;

/** Finds the files of a tokenizer, and refuses a part of one or one of another kind. */
final class TokenizerFiles {

    private static final String TOKENIZER = "tokenizer.json";
    private static final List<List<String>> PAIRS =
            List.of(List.of("vocab.json", "merges.txt"), List.of("encoder.json", "vocab.bpe"));

    /** Files that mean nothing without those above. */
    private static final List<String> BESIDE =
            List.of(TokenizerConfig.CONFIG, TokenizerConfig.SPECIAL_TOKENS, TokenizerConfig.ADDED_TOKENS);

    /** Files of tokenizers of other kinds: WordPiece, SentencePiece, tiktoken, nanoGPT's characters. */
    private static final List<String> OTHER = List.of(
            "vocab.txt",
            "spiece.model",
            "sentencepiece.bpe.model",
            "sentencepiece.model",
            "tokenizer.model",
            "source.spm",
            "tekken.json",
            "tiktoken.model",
            "bpe.codes",
            "meta.pkl");

    /** Classes whose vocabulary and merges mean what GPT-2's do. */
    private static final Set<String> GPT2_CLASSES =
            Set.of("GPT2Tokenizer", "PreTrainedTokenizer", "TokenizersBackend", "PythonBackend");

    /** Classes that make no byte-level BPE even of a {@code tokenizer.json} that holds one. */
    private static final Set<String> OTHER_CLASSES = Set.of(
            "AlbertTokenizer",
            "BertJapaneseTokenizer",
            "BertTokenizer",
            "CamembertTokenizer",
            "DistilBertTokenizer",
            "ElectraTokenizer",
            "MBartTokenizer",
            "T5Tokenizer",
            "XGLMTokenizer",
            "XLMRobertaTokenizer",
            "XLNetTokenizer");

    private TokenizerFiles() {}

    /** The files of a tokenizer of any kind. */
    static List<String> names() {
        return Stream.of(List.of(TOKENIZER), PAIRS.get(0), PAIRS.get(1), BESIDE, OTHER)
                .flatMap(List::stream)
                .toList();
    }

    /** Whether the configuration in a directory names a class of tokenizers that are no byte-level BPE. */
    static boolean isOfOtherClass(Path directory) throws IOException {
        return !GPT2_CLASSES.contains(TokenizerConfig.read(directory).tokenizerClass());
    }

    static BpeTokenizer read(Path path) throws IOException {
        if (Files.isRegularFile(path)) {
            return TokenizerJson.read(JsonFile.read(path), TokenizerConfig.none());
        }
        if (!Files.isDirectory(path)) {
            throw new IOException(path + ": expected a directory or a file, got none");
        }
        TokenizerConfig config = TokenizerConfig.read(path);
        if (Files.exists(path.resolve(TOKENIZER))) {
            if (OTHER_CLASSES.contains(config.tokenizerClass())) {
                throw config.otherClass();
            }
            return TokenizerJson.read(JsonFile.read(file(path, TOKENIZER)), config);
        }
        for (List<String> pair : PAIRS) {
            if (present(path, pair).size() == 2) {
                if (!GPT2_CLASSES.contains(config.tokenizerClass())) {
                    throw config.otherClass();
                }
                return read(file(path, pair.get(0)), file(path, pair.get(1)), config);
            }
        }
        throw nothingToRead(path, config);
    }

    /**
     * A file of a directory. It may be a link within the directory or, as in Hugging Face's cache, into the
     * {@code blobs} beside the {@code snapshots} that the directory is in: a downloaded directory cannot make the
     * program read other files.
     */
    static Path file(Path directory, String name) throws IOException {
        Path file = directory.resolve(name);
        if (!Files.exists(file)) {
            return file;
        }
        Path home = directory.toRealPath();
        Path real = file.toRealPath();
        boolean inside = real.startsWith(home);
        for (Path parent = home; !inside && parent != null; parent = parent.getParent()) {
            inside = parent.endsWith("snapshots") && real.startsWith(parent.resolveSibling("blobs"));
        }
        if (!inside) {
            throw new IOException(file + ": link must stay in the directory, got one to " + real
                    + "; copy the file, or name the directory that it is in");
        }
        return file;
    }

    static BpeTokenizer read(Path vocabulary, Path merges, TokenizerConfig config) throws IOException {
        return VocabAndMerges.read(JsonFile.read(vocabulary), JsonFile.readBytes(merges), merges.toString(), config);
    }

    /** GPT-2's own, from the class path. */
    static BpeTokenizer readGpt2() throws IOException {
        return VocabAndMerges.read(
                new JsonFile("gpt2/vocab.json", resource("gpt2/vocab.json")),
                resource("gpt2/merges.txt"),
                "gpt2/merges.txt",
                TokenizerConfig.none());
    }

    private static byte[] resource(String name) throws IOException {
        try (InputStream in = TokenizerFiles.class.getResourceAsStream(name)) {
            if (in == null) {
                throw new IOException(name + ": expected a file of GPT-2's tokenizer on the class path, got none");
            }
            return in.readAllBytes();
        }
    }

    private static IOException nothingToRead(Path path, TokenizerConfig config) {
        List<String> other = present(path, OTHER);
        if (!GPT2_CLASSES.contains(config.tokenizerClass())) {
            other.add(config.tokenizerClass());
        }
        if (!other.isEmpty()) {
            return new IOException(
                    path + ": expected a byte-level BPE tokenizer as GPT-2's, got a tokenizer of another kind ("
                            + String.join(", ", other) + ")");
        }
        List<String> found = present(path, PAIRS.get(0));
        found.addAll(present(path, PAIRS.get(1)));
        found.addAll(present(path, BESIDE));
        return new IOException(
                path + ": expected " + TOKENIZER + ", or vocab.json and merges.txt, or encoder.json and vocab.bpe, got "
                        + (found.isEmpty() ? "none of them" : String.join(", ", found) + " only"));
    }

    private static List<String> present(Path directory, List<String> names) {
        return new ArrayList<>(names.stream()
                .filter(name -> Files.exists(directory.resolve(name)))
                .toList());
    }
}
