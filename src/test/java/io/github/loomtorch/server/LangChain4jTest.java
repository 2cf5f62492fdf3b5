package io.github.loomtorch.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.langchain4j.data.message.AiMessage;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.exception.InvalidRequestException;
import dev.langchain4j.model.chat.ChatModel;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.language.LanguageModel;
import dev.langchain4j.model.openai.OpenAiChatModel;
import dev.langchain4j.model.openai.OpenAiLanguageModel;
import dev.langchain4j.model.openai.OpenAiStreamingChatModel;
import dev.langchain4j.model.output.FinishReason;
import dev.langchain4j.model.output.Response;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** LangChain4j's OpenAI models against the server. */
@Timeout(30)
class LangChain4jTest {
    private FakeServer fake;

    @BeforeEach
    void start() throws Exception {
        fake = new FakeServer();
    }

    @AfterEach
    void close() {
        fake.close();
    }

    private String url() {
        return fake.uri("/v1").toString();
    }

    private ChatModel chat(int maxTokens) {
        return OpenAiChatModel.builder()
                .baseUrl(url())
                .apiKey("none")
                .modelName("fake")
                .temperature(0.0)
                .maxTokens(maxTokens)
                .maxRetries(0)
                .build();
    }

    @Test
    void chats() {
        ChatResponse answer = chat(5).chat(List.of(UserMessage.from("ab"), AiMessage.from("c"), UserMessage.from("d")));
        assertFalse(answer.aiMessage().text().isEmpty());
        assertEquals(7, answer.tokenUsage().inputTokenCount());
        assertEquals("fake", answer.modelName());
    }

    @Test
    void streamsAChat() {
        String whole = chat(9).chat("abc");
        StringBuilder parts = new StringBuilder();
        CompletableFuture<ChatResponse> end = new CompletableFuture<>();
        OpenAiStreamingChatModel.builder()
                .baseUrl(url())
                .apiKey("none")
                .modelName("fake")
                .temperature(0.0)
                .maxTokens(9)
                .build()
                .chat("abc", new StreamingChatResponseHandler() {
                    @Override
                    public void onPartialResponse(String part) {
                        parts.append(part);
                    }

                    @Override
                    public void onCompleteResponse(ChatResponse answer) {
                        end.complete(answer);
                    }

                    @Override
                    public void onError(Throwable failure) {
                        end.completeExceptionally(failure);
                    }
                });
        ChatResponse answer = end.join();
        assertEquals(whole, parts.toString());
        assertEquals(whole, answer.aiMessage().text());
        assertEquals(4, answer.tokenUsage().inputTokenCount());
    }

    @Test
    void aRefusalIsTyped() {
        assertThrows(InvalidRequestException.class, () -> chat(65).chat("abc"));
    }

    @Test
    void completesText() {
        LanguageModel model = OpenAiLanguageModel.builder()
                .baseUrl(url())
                .apiKey("none")
                .modelName("fake")
                .temperature(0.0)
                .maxRetries(0)
                .build();
        Response<String> answer = model.generate("abc");
        assertEquals(3, answer.tokenUsage().inputTokenCount());
        assertEquals(FinishReason.LENGTH, answer.finishReason());
    }
}
