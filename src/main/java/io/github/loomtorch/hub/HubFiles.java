package io.github.loomtorch.hub;

import io.github.loomtorch.tokenizer.BpeTokenizer;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** Which files of a model are needed. A listing is untrusted; the names that are chosen from it are plain. */
final class HubFiles {
    private static final String CONFIG = "config.json";

    /** A checkpoint in one file, or an index and its shards. */
    private record Weights(String file, Pattern shard) {
        Weights(String stem, String suffix) {
            this(stem + suffix, Pattern.compile(stem + "-\\d{5}-of-(\\d{5})" + Pattern.quote(suffix)));
        }

        String index() {
            return file + ".index.json";
        }

        List<String> in(Collection<String> names) throws HubFailure {
            if (names.contains(file)) {
                return List.of(file);
            }
            if (!names.contains(index())) {
                return List.of();
            }
            List<String> chosen = new ArrayList<>(names.stream()
                    .filter(name -> shard.matcher(name).matches())
                    .distinct()
                    .sorted()
                    .toList());
            int expected = chosen.isEmpty()
                    ? 1
                    : Integer.parseInt(shard.matcher(chosen.get(0)).replaceFirst("$1"));
            if (chosen.size() != expected) {
                throw HubFailure.permanent(
                        "expected " + expected + " files beside " + index() + ", got " + chosen.size());
            }
            chosen.add(index());
            return chosen;
        }
    }

    /** In the order in which they are looked for. */
    private static final List<Weights> WEIGHTS =
            List.of(new Weights("model", ".safetensors"), new Weights("pytorch_model", ".bin"));

    private HubFiles() {}

    /**
     * The files to take. Weights come last, so that a folder with weights has everything.
     *
     * @throws HubFailure if there is no configuration, or there are no weights
     */
    static List<String> choose(Collection<String> names) throws HubFailure {
        if (!names.contains(CONFIG)) {
            throw HubFailure.permanent("expected config.json, got a model without it");
        }
        List<String> chosen = new ArrayList<>(Stream.concat(
                        Stream.of(CONFIG, "generation_config.json", "chat_template.jinja"),
                        BpeTokenizer.fileNames().stream())
                .filter(names::contains)
                .toList());
        for (Weights weights : WEIGHTS) {
            List<String> found = weights.in(names);
            if (!found.isEmpty()) {
                chosen.addAll(found);
                return chosen;
            }
        }
        throw HubFailure.permanent("expected model.safetensors or pytorch_model.bin, got a model without them");
    }
}
