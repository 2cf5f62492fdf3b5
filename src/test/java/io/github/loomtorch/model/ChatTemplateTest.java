package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(10)
class ChatTemplateTest {
    private static final String DIALOGPT =
            "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}";

    @TempDir
    private Path directory;

    private boolean joinsTurns(String template) throws IOException {
        Files.write(
                directory.resolve("tokenizer_config.json"),
                new JsonMapper().writeValueAsBytes(Map.of("model_max_length", 1024, "chat_template", template)));
        return ChatTemplate.joinsTurns(directory);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                DIALOGPT,
                "{%- for m in messages -%}\n{{- m['content'] + eos_token -}}\n{%- endfor -%}\n",
                "{%for message in messages%}{{message[\"content\"]}}{{eos_token}}{%endfor%}"
            })
    void recognisesTurnsThatEndWithEndOfText(String template) throws IOException {
        assertTrue(joinsTurns(template));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "{% for message in messages %}{{ message.role }}{{ message.content }}{{ eos_token }}{% endfor %}",
                "{% for message in messages %}{{ message.content }}{{ bos_token }}{% endfor %}",
                DIALOGPT + "Answer:",
                "{% for message in history %}{{ message.content }}{{ eos_token }}{% endfor %}"
            })
    void takesNoOtherTemplate(String template) throws IOException {
        assertFalse(joinsTurns(template));
    }

    @Test
    void aFileOfItsOwnComesFirst() throws IOException {
        assertFalse(ChatTemplate.joinsTurns(directory)); // no file at all
        assertFalse(joinsTurns("another"));
        Files.writeString(directory.resolve("chat_template.jinja"), DIALOGPT);
        assertTrue(ChatTemplate.joinsTurns(directory));
    }

    @Test
    void aHugeTemplateIsNotRead() throws IOException {
        Files.writeString(directory.resolve("chat_template.jinja"), " ".repeat((1 << 20) + 1));
        assertThrows(IOException.class, () -> ChatTemplate.joinsTurns(directory));
    }
}
