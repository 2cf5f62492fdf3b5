package io.github.loomtorch.tokenizer;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.CharacterCodingException;
import java.util.List;
import java.util.Map;

/** Reads a vocabulary ({@code vocab.json}, {@code encoder.json}) and merges ({@code merges.txt}, {@code vocab.bpe}). */
final class VocabAndMerges {

    private VocabAndMerges() {}

    /**
     * Reads the two files.
     *
     * @param mergesName what errors about the merges begin with
     */
    static BpeTokenizer read(JsonFile vocabulary, byte[] merges, String mergesName, TokenizerConfig config)
            throws IOException {
        BpeModelBuilder model = new BpeModelBuilder(vocabulary);
        vocabulary.parse(json -> model.readVocabulary(json, ""));
        readMerges(model, merges, mergesName);
        Map<String, AddedToken> added = config.resolve(vocabulary, List.of(), model.vocabulary(), true);
        return new BpeTokenizer(
                model.build(added.values(), Normalizer.NONE, mergesName),
                added.values(),
                Normalizer.NONE,
                PreTokenizer.gpt2(config.addsPrefixSpace()),
                config.postProcessor(added),
                config.endOfTextId(added));
    }

    private static void readMerges(BpeModelBuilder model, byte[] merges, String name) throws IOException {
        int blank = 0; // number of the first of the blank lines read last
        int number = 1;
        try (BufferedReader reader =
                new BufferedReader(new InputStreamReader(new ByteArrayInputStream(merges), UTF_8.newDecoder()))) {
            reader.mark(1);
            if (reader.read() != '\uFEFF') { // a byte order mark
                reader.reset();
            }
            for (String line = reader.readLine(); line != null; line = reader.readLine(), number++) {
                if (line.startsWith("#version")) {
                    continue;
                }
                if (line.isEmpty()) {
                    blank = blank == 0 ? number : blank;
                } else if (blank > 0) {
                    throw new IOException(name + " line " + blank + ": expected two symbols, got \"\"");
                } else {
                    model.addMerge(line, at -> name + " line " + at, number);
                }
            }
        } catch (CharacterCodingException e) {
            throw new IOException(name + ": expected UTF-8, got malformed bytes after line " + (number - 1), e);
        }
    }
}
