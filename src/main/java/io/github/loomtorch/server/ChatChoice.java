package io.github.loomtorch.server;

import com.fasterxml.jackson.core.JsonGenerator;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.IOException;
import java.util.List;

/** A choice as {@code /v1/chat/completions} writes it. Confined to the thread of the request. */
final class ChatChoice extends Choice {
    private boolean begun;

    ChatChoice(int index, GenerationRequest request, CompletionRequest.Answer answer, Tokenizer tokenizer) {
        super(index, request, answer, tokenizer);
    }

    @Override
    void writeNews(JsonGenerator json, String newText, List<Token> newTokens) throws IOException {
        json.writeObjectFieldStart(answer().stream() ? "delta" : "message");
        if (!begun) {
            json.writeStringField("role", "assistant");
        }
        json.writeStringField("content", newText);
        json.writeEndObject();
        json.writeFieldName("logprobs");
        if (answer().logprobs().isPresent()) {
            writeLogprobs(json, newTokens);
        } else {
            json.writeNull();
        }
        if (answer().tokenIds() && !begun) {
            json.writeFieldName("prompt_token_ids");
            int[] prompt = request().promptTokenIds();
            json.writeArray(prompt, 0, prompt.length);
        }
        begun = true;
    }

    private void writeLogprobs(JsonGenerator json, List<Token> newTokens) throws IOException {
        json.writeStartObject();
        json.writeArrayFieldStart("content");
        for (Token token : newTokens) {
            TokenLogprobs logprobs = token.logprobs().orElseThrow();
            json.writeStartObject();
            writeToken(json, token.id(), logprobs.logprob());
            json.writeArrayFieldStart("top_logprobs");
            for (TokenLogprobs.Entry entry : first(answer().logprobs().orElse(0), logprobs)) {
                json.writeStartObject();
                writeToken(json, entry.tokenId(), entry.logprob());
                json.writeEndObject();
            }
            json.writeEndArray();
            json.writeEndObject();
        }
        json.writeEndArray();
        json.writeEndObject();
    }

    private void writeToken(JsonGenerator json, int id, float logprob) throws IOException {
        json.writeStringField("token", tokenText(id));
        json.writeNumberField("logprob", finite(logprob));
        json.writeFieldName("bytes");
        if (id < tokenizer().vocabSize()) {
            json.writeStartArray();
            for (byte b : tokenizer().tokenBytes(id)) {
                json.writeNumber(Byte.toUnsignedInt(b));
            }
            json.writeEndArray();
        } else {
            json.writeNull();
        }
    }
}
