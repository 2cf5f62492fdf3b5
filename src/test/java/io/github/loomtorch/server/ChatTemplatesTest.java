package io.github.loomtorch.server;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(10)
class ChatTemplatesTest {
    @TempDir
    private Path directory;

    private boolean joinsTurns(String template) throws Exception {
        Files.write(
                directory.resolve("tokenizer_config.json"),
                FakeServer.JSON.writeValueAsBytes(Map.of("model_max_length", 1024, "chat_template", template)));
        return ChatTemplates.joinsTurns(directory);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}",
                "{%- for m in messages -%}\n{{- m['content'] + eos_token -}}\n{%- endfor -%}\n",
                "{%for message in messages%}{{message[\"content\"]}}{{eos_token}}{%endfor%}"
            })
    void recognisesTurnsJoinedByEndOfText(String template) throws Exception {
        assertEquals(true, joinsTurns(template));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "{% for message in messages %}{{ message.role }}{{ message.content }}{{ eos_token }}{% endfor %}",
                "{% for message in messages %}{{ message.content }}{{ bos_token }}{% endfor %}",
                "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}Answer:",
                "{% for message in history %}{{ message.content }}{{ eos_token }}{% endfor %}"
            })
    void takesNoOtherTemplate(String template) throws Exception {
        assertEquals(false, joinsTurns(template));
    }

    @Test
    void aFileOfItsOwnComesFirst() throws Exception {
        assertEquals(false, ChatTemplates.joinsTurns(directory)); // no file at all
        assertEquals(false, joinsTurns("another"));
        Files.writeString(
                directory.resolve("chat_template.jinja"),
                "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}");
        assertEquals(true, ChatTemplates.joinsTurns(directory));
    }
}
