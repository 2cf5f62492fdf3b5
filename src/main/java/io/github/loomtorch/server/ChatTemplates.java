package io.github.loomtorch.server;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.regex.Pattern;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Finds a model's chat template. There is no interpreter of templates: the one that GPT-2's family has, DialoGPT's, is
 * recognised. It writes each message and end-of-text behind it.
 */
public final class ChatTemplates {
    private static final Logger LOG = LoggerFactory.getLogger(HttpServer.class);
    private static final String CONFIG = "tokenizer_config.json";
    private static final String FILE = "chat_template.jinja";
    private static final Pattern JOINS_TURNS = Pattern.compile(
            "\\{%-?for(\\w+)inmessages-?%\\}\\{\\{-?\\1(\\.content|\\[['\"]content['\"]\\])(-?\\}\\}\\{\\{-?|\\+)eos_token-?\\}\\}"
                    + "\\{%-?endfor-?%\\}");

    private ChatTemplates() {}

    /**
     * Whether a model's template writes each message and end-of-text behind it. Logs a warning if it has another one.
     *
     * @param directory of the tokenizer; {@code chat_template.jinja} or {@code tokenizer_config.json} has the template
     * @return false if there is no template, or another
     * @throws IOException if a file cannot be read
     */
    public static boolean joinsTurns(Path directory) throws IOException {
        Optional<String> template = template(directory);
        boolean joins = template.isPresent()
                && JOINS_TURNS.matcher(template.get().replaceAll("\\s", "")).matches();
        if (template.isPresent() && !joins) {
            LOG.warn("{} has a chat template that this server does not know; it takes no chats", directory);
        }
        return joins;
    }

    private static Optional<String> template(Path directory) throws IOException {
        if (Files.isRegularFile(directory.resolve(FILE))) {
            return Optional.of(Files.readString(directory.resolve(FILE)));
        }
        if (!Files.isRegularFile(directory.resolve(CONFIG))) {
            return Optional.empty();
        }
        JsonNode config = JsonMapper.builder().build().readTree(Files.readAllBytes(directory.resolve(CONFIG)));
        return Optional.ofNullable(config.path("chat_template").textValue());
    }
}
