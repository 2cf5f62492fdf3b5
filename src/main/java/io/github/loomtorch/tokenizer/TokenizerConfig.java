package io.github.loomtorch.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.MissingNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What lies beside a vocabulary: {@code tokenizer_config.json}, {@code special_tokens_map.json} and
 * {@code added_tokens.json}, read as {@code GPT2Tokenizer} of Hugging Face {@code transformers} 5 reads them.
 */
final class TokenizerConfig {
    static final String CONFIG = "tokenizer_config.json";
    static final String SPECIAL_TOKENS = "special_tokens_map.json";
    static final String ADDED_TOKENS = "added_tokens.json";

    /** The model's configuration, which may name the tokenizer's class, too. */
    private static final String MODEL = "config.json";

    private static final Logger LOG = LoggerFactory.getLogger(TokenizerConfig.class);

    /** The special tokens that {@code GPT2Tokenizer} has where no file names others. */
    private static final List<String> DEFAULT_SPECIAL = List.of("bos_token", "eos_token", "unk_token");

    private static final String GPT2_CLASS = "GPT2Tokenizer";
    private static final String ADD_BOS = "add_bos_token";
    private static final String ADD_EOS = "add_eos_token";

    private JsonFile file;
    private JsonNode config = MissingNode.getInstance();
    private JsonNode tokenizerClass = MissingNode.getInstance();

    /** Tokens with ids, by content, in the order in which they were read. */
    private final Map<String, AddedToken> added = new LinkedHashMap<>();

    /** Special tokens by what they are for, such as {@code eos_token}. */
    private final Map<String, AddedToken> named = new LinkedHashMap<>();

    private final List<AddedToken> moreSpecial = new ArrayList<>();

    private TokenizerConfig(String name) {
        file = new JsonFile(name, new byte[0]);
    }

    /** Without files: GPT-2's own. */
    static TokenizerConfig none() {
        return new TokenizerConfig("");
    }

    /** Reads those files that a directory has. */
    static TokenizerConfig read(Path directory) throws IOException {
        TokenizerConfig result = new TokenizerConfig(directory.resolve(CONFIG).toString());
        if (Files.exists(directory.resolve(CONFIG))) {
            result.file = JsonFile.read(TokenizerFiles.file(directory, CONFIG));
            result.config = result.file.readObject();
            result.tokenizerClass = result.config.path("tokenizer_class");
            result.readNamed(result.file, result.config);
        } else if (Files.exists(directory.resolve(MODEL))) {
            result.file = JsonFile.read(TokenizerFiles.file(directory, MODEL));
            result.tokenizerClass = result.file.readObject().path("tokenizer_class");
        }
        JsonNode decoder = result.config.path("added_tokens_decoder");
        if (!decoder.isMissingNode() && !decoder.isNull()) {
            result.readDecoder(decoder);
            return result; // the other two files are an older form of the same, which Hugging Face does not read then
        }
        Path special = TokenizerFiles.file(directory, SPECIAL_TOKENS);
        if (Files.exists(special)) {
            JsonFile map = JsonFile.read(special);
            result.readNamed(map, map.readObject());
        }
        Path tokens = TokenizerFiles.file(directory, ADDED_TOKENS);
        if (Files.exists(tokens)) {
            result.readAdded(JsonFile.read(tokens));
        }
        return result;
    }

    /** Reads {@code {"258": {"content": "<|endoftext|>", ...}}}. */
    private void readDecoder(JsonNode decoder) throws IOException {
        file.require(decoder, "added_tokens_decoder", "an object", JsonNode::isObject);
        for (Map.Entry<String, JsonNode> entry : decoder.properties()) {
            String place = "added_tokens_decoder." + JsonFile.quote(entry.getKey());
            int id;
            try {
                id = Integer.parseInt(entry.getKey());
            } catch (NumberFormatException e) {
                throw file.error(place, "an integer id", JsonFile.quote(entry.getKey()));
            }
            add(file, place, AddedToken.read(file, entry.getValue(), place, id, false));
        }
    }

    /** Reads {@code {"<|user|>": 259}}. */
    private void readAdded(JsonFile tokens) throws IOException {
        Set<String> special = new LinkedHashSet<>();
        named.values().forEach(token -> special.add(token.content()));
        moreSpecial.forEach(token -> special.add(token.content()));
        for (Map.Entry<String, JsonNode> entry : tokens.readObject().properties()) {
            String content = entry.getKey();
            String place = JsonFile.quote(content);
            tokens.require(entry.getValue(), place, "an integer id", JsonNode::isInt);
            if (content.length() > AddedToken.MAX_LENGTH) {
                throw tokens.error(place, "at most " + AddedToken.MAX_LENGTH + " characters", "" + content.length());
            }
            boolean isSpecial = special.contains(content);
            add(tokens, place, AddedToken.of(entry.getValue().intValue(), content, isSpecial));
        }
    }

    private void add(JsonFile source, String place, AddedToken token) throws IOException {
        AddedToken before = added.put(token.content(), token);
        if (before != null && before.id() != token.id()) {
            throw source.error(
                    place, "one id of " + JsonFile.quote(token.content()), before.id() + " and " + token.id());
        }
    }

    /** Reads {@code {"eos_token": "<|endoftext|>", "additional_special_tokens": [...]}}; other keys are not read. */
    private void readNamed(JsonFile source, JsonNode node) throws IOException {
        for (Map.Entry<String, JsonNode> entry : node.properties()) {
            String key = entry.getKey();
            JsonNode value = entry.getValue();
            if (key.equals("additional_special_tokens") || key.equals("extra_special_tokens")) {
                for (JsonNode token : value) { // of an array or an object
                    moreSpecial.add(special(source, token, key));
                }
            } else if (key.endsWith("_token") && (value.isTextual() || value.isObject())) {
                named.put(key, special(source, value, key));
            } else if (DEFAULT_SPECIAL.contains(key) && value.isNull()) {
                named.put(key, AddedToken.of(AddedToken.NO_ID, "", true));
            }
        }
    }

    private static AddedToken special(JsonFile source, JsonNode node, String place) throws IOException {
        if (node.isObject()) {
            return AddedToken.read(source, node, place, AddedToken.NO_ID, true).asSpecial();
        }
        source.require(node, place, "a token", JsonNode::isTextual);
        source.require(node, place, "at most " + AddedToken.MAX_LENGTH + " characters", AddedToken::isShort);
        return AddedToken.of(AddedToken.NO_ID, node.textValue(), true);
    }

    /** The tokenizer's class without {@code Fast}; {@code GPT2Tokenizer} if no file names one. */
    String tokenizerClass() {
        String name = tokenizerClass.isTextual() ? tokenizerClass.textValue() : GPT2_CLASS;
        return name.endsWith("Fast") ? name.substring(0, name.length() - "Fast".length()) : name;
    }

    /** An error about the tokenizer's class. */
    IOException otherClass() {
        return file.error("tokenizer_class", GPT2_CLASS, JsonFile.quote(tokenizerClass()));
    }

    boolean addsPrefixSpace() throws IOException {
        return flag("add_prefix_space");
    }

    /** Whether {@link #addsPrefixSpace} counts for a {@code tokenizer.json}, too: it does for this class only. */
    boolean overridesPrefixSpace() {
        return config.has("add_prefix_space") && tokenizerClass().equals(GPT2_CLASS);
    }

    private boolean flag(String name) throws IOException {
        JsonNode flag = config.path(name);
        file.require(flag, name, "true or false", node -> node.isBoolean() || node.isMissingNode() || node.isNull());
        return flag.asBoolean();
    }

    /** Warns of settings that Hugging Face does not read beside a {@code tokenizer.json}. */
    void warnOfIgnored() throws IOException {
        if (flag(ADD_BOS) || flag(ADD_EOS)) {
            LOG.warn(
                    "{}: {} and {} have no effect, because post_processor of tokenizer.json decides which tokens a text gets",
                    file,
                    ADD_BOS,
                    ADD_EOS);
        }
    }

    /** The tokens that {@code add_bos_token} and {@code add_eos_token} add to a text. */
    PostProcessor postProcessor(Map<String, AddedToken> tokens) throws IOException {
        return new PostProcessor(ids(ADD_BOS, "bos_token", tokens), ids(ADD_EOS, "eos_token", tokens));
    }

    private int[] ids(String flag, String key, Map<String, AddedToken> tokens) throws IOException {
        String content = contentOf(key);
        if (!flag(flag) || content.isEmpty()) {
            return new int[0];
        }
        if (!tokens.containsKey(content)) {
            throw file.error(flag, "a " + key + " of the vocabulary", JsonFile.quote(content));
        }
        return new int[] {tokens.get(content).id()};
    }

    /** The content of a token of {@link #DEFAULT_SPECIAL}, empty if a file says that there is none. */
    private String contentOf(String key) {
        return named.containsKey(key) ? named.get(key).content() : BpeTokenizer.END_OF_TEXT;
    }

    /** The id of the token that ends a text, -1 if there is none. */
    int endOfTextId(Map<String, AddedToken> tokens) {
        AddedToken token = tokens.get(contentOf("eos_token"));
        return token == null ? -1 : token.id();
    }

    /**
     * All added tokens by content, each with its id.
     *
     * @param source the file that {@code first} and the vocabulary are from
     * @param first tokens of {@code tokenizer.json}, which count where these files say something else
     * @param hasDefaults whether {@link #DEFAULT_SPECIAL} are GPT-2's if no file names others
     */
    Map<String, AddedToken> resolve(
            JsonFile source, List<AddedToken> first, Map<String, Integer> vocabulary, boolean hasDefaults)
            throws IOException {
        Map<String, AddedToken> tokens = new LinkedHashMap<>();
        for (AddedToken token : first) {
            put(tokens, source, vocabulary, token);
        }
        for (AddedToken token : added.values()) {
            AddedToken known = tokens.get(token.content());
            put(tokens, file, vocabulary, known == null ? token : known.withId(token.id()));
        }
        int next = 0;
        for (int id : vocabulary.values()) {
            next = Math.max(next, id + 1);
        }
        for (AddedToken token : tokens.values()) {
            next = Math.max(next, token.id() + 1);
        }
        List<AddedToken> special = new ArrayList<>(named.values());
        special.addAll(moreSpecial);
        if (hasDefaults && vocabulary.containsKey(BpeTokenizer.END_OF_TEXT)) {
            for (String key : DEFAULT_SPECIAL) {
                if (!named.containsKey(key)) {
                    special.add(AddedToken.of(AddedToken.NO_ID, BpeTokenizer.END_OF_TEXT, true));
                }
            }
        }
        for (AddedToken token : special) {
            AddedToken known = tokens.get(token.content());
            if (known != null) {
                tokens.put(known.content(), known.asSpecial());
            } else if (!token.content().isEmpty()) {
                Integer id = vocabulary.get(token.content());
                put(tokens, file, vocabulary, token.withId(id == null ? next++ : id));
            }
        }
        warnOfGaps(source, tokens.values(), vocabulary);
        return tokens;
    }

    private static void put(
            Map<String, AddedToken> tokens, JsonFile source, Map<String, Integer> vocabulary, AddedToken token)
            throws IOException {
        String content = token.content();
        if (content.isEmpty()) {
            return; // as Hugging Face does
        }
        int id = token.id();
        if (id < 0 || id >= BpeModelBuilder.MAX_ID) {
            throw source.error(
                    "",
                    "an id in [0, " + BpeModelBuilder.MAX_ID + ") of " + JsonFile.quote(content),
                    Integer.toString(id));
        }
        AddedToken before = tokens.put(content, token);
        int known = before == null ? vocabulary.getOrDefault(content, id) : before.id();
        if (known != id) {
            throw source.error("", "one id of " + JsonFile.quote(content), known + " and " + id);
        }
    }

    private static void warnOfGaps(JsonFile source, Collection<AddedToken> tokens, Map<String, Integer> vocabulary) {
        int[] next = {vocabulary.size()};
        tokens.stream()
                .filter(token -> !vocabulary.containsKey(token.content()))
                .sorted(Comparator.comparingInt(AddedToken::id))
                .filter(token -> token.id() != next[0]++)
                .findFirst()
                .ifPresent(token -> LOG.warn(
                        "{}: \"{}\" has the id {} that the file gives it; Hugging Face tokenizers gives it {}, as ids are missing before it",
                        source,
                        token.content(),
                        token.id(),
                        next[0] - 1));
    }
}
