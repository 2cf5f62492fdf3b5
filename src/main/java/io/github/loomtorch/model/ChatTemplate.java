package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.regex.Pattern;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A model's chat template. Templates are programs, and none is run: the one that GPT-2's family has, DialoGPT's, is
 * recognised. It writes each message and end-of-text behind it.
 */
public final class ChatTemplate {
    private static final Logger LOG = LoggerFactory.getLogger(ChatTemplate.class);
    private static final String CONFIG = "tokenizer_config.json";
    private static final String FILE = "chat_template.jinja";
    private static final int MAX_BYTES = 1 << 20;
    private static final Pattern JOINS_TURNS =
            Pattern.compile("\\{%-?for(\\w+)inmessages-?%\\}\\{\\{-?\\1(\\.content|\\[['\"]content['\"]\\])"
                    + "(-?\\}\\}\\{\\{-?|\\+)eos_token-?\\}\\}\\{%-?endfor-?%\\}");

    private ChatTemplate() {}

    /**
     * Whether a model's template writes each message and end-of-text behind it. Logs a warning if it has another one.
     *
     * @param directory of the model; {@code chat_template.jinja} or {@code tokenizer_config.json} has the template
     * @return false if there is no template, or another
     * @throws IOException if a file cannot be read, is too large or is bad
     */
    public static boolean joinsTurns(Path directory) throws IOException {
        Optional<String> template = template(directory);
        boolean joins = template.isPresent()
                && JOINS_TURNS.matcher(template.get().replaceAll("\\s", "")).matches();
        if (template.isPresent() && !joins) {
            LOG.warn("{} has a chat template that is not DialoGPT's; it takes no chats", directory);
        }
        return joins;
    }

    private static Optional<String> template(Path directory) throws IOException {
        if (ModelFiles.has(directory, FILE)) {
            Path file = ModelFiles.require(directory.toString(), directory, FILE);
            long size = Files.size(file);
            if (size > MAX_BYTES) {
                throw new IOException(file + ": expected at most " + MAX_BYTES + " bytes, got " + size);
            }
            return Optional.of(Files.readString(file));
        }
        if (!ModelFiles.has(directory, CONFIG)) {
            return Optional.empty();
        }
        Json config = Json.read(ModelFiles.require(directory.toString(), directory, CONFIG));
        return Optional.ofNullable(config.node().path("chat_template").textValue());
    }
}
