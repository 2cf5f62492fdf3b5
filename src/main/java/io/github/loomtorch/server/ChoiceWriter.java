package io.github.loomtorch.server;

import com.fasterxml.jackson.core.JsonGenerator;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.tokenizer.IncrementalDecoder;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Writes one choice of an answer: whole, or the tokens since the last event of a stream. Confined to the thread of the
 * request.
 */
final class ChoiceWriter {
    private final int index;
    private final GenerationRequest request;
    private final CompletionRequest.Answer answer;
    private final Tokenizer tokenizer;
    private final IncrementalDecoder offsets;
    private int textOffset; // code points of the text before the next token
    private boolean wrotePrompt;

    // What the next event of a stream has.
    private final StringBuilder text = new StringBuilder();
    private final List<Token> tokens = new ArrayList<>();
    private Optional<Completion> completion = Optional.empty();
    private int completionTokens;

    private record Token(int id, Optional<TokenLogprobs> logprobs) {}

    /**
     * A choice without tokens.
     *
     * @param index the prompt's place times n, plus the continuation's
     */
    ChoiceWriter(int index, GenerationRequest request, CompletionRequest.Answer answer, Tokenizer tokenizer) {
        this.index = index;
        this.request = request;
        this.answer = answer;
        this.tokenizer = tokenizer;
        offsets = new IncrementalDecoder(tokenizer);
    }

    GenerationRequest request() {
        return request;
    }

    int completionTokens() {
        return completionTokens;
    }

    /** The end, unless it has not come yet. */
    Optional<Completion> completion() {
        return completion;
    }

    void add(TokenEvent event) {
        text.append(event.text());
        tokens.add(new Token(event.tokenId(), event.logprobs()));
        completionTokens++;
    }

    void end(Completion end) {
        completion = Optional.of(end);
    }

    /** The end of a choice whose tokens were not added one by one. */
    void endWithAll(Completion end) {
        text.append(end.text());
        int[] ids = end.outputTokenIds();
        for (int i = 0; i < ids.length; i++) {
            tokens.add(new Token(
                    ids[i],
                    end.logprobs().isEmpty()
                            ? Optional.empty()
                            : Optional.of(end.logprobs().get(i))));
        }
        completionTokens = ids.length;
        end(end);
    }

    /** Whether an event is due: there is text, the end, or something else that each token has. */
    boolean hasNews() {
        boolean perToken = answer.logprobs().isPresent() || answer.tokenIds();
        return !text.isEmpty() || completion.isPresent() || perToken && !tokens.isEmpty();
    }

    /** Writes what was added since the last call. */
    void write(JsonGenerator json) throws IOException {
        boolean first = !wrotePrompt;
        wrotePrompt = true;
        int[] prompt = first && (answer.echo() || answer.tokenIds()) ? request.promptTokenIds() : new int[0];
        json.writeStartObject();
        json.writeNumberField("index", index);
        String echoed = first && answer.echo() ? tokenizer.decode(prompt) : "";
        textOffset += echoed.codePointCount(0, echoed.length());
        json.writeStringField("text", echoed + text);
        json.writeFieldName("logprobs");
        if (answer.logprobs().isPresent()) {
            writeLogprobs(json);
        } else {
            json.writeNull();
        }
        json.writeStringField(
                "finish_reason", completion.map(ChoiceWriter::finishReason).orElse(null));
        json.writeFieldName("stop_reason");
        if (completion.isPresent()) {
            writeStopReason(json, completion.get());
        } else {
            json.writeNull();
        }
        if (answer.tokenIds()) {
            if (first) {
                json.writeFieldName("prompt_token_ids");
                json.writeArray(prompt, 0, prompt.length);
            }
            json.writeFieldName("token_ids");
            int[] ids = tokens.stream().mapToInt(Token::id).toArray();
            json.writeArray(ids, 0, ids.length);
        }
        json.writeEndObject();
        text.setLength(0);
        tokens.clear();
    }

    /** OpenAI's words: a generation that was cancelled or ran out of time was aborted. */
    static String finishReason(Completion completion) {
        return switch (completion.finishReason()) {
            case STOP -> "stop";
            case LENGTH -> "length";
            case CANCELLED, DEADLINE -> "abort";
        };
    }

    /** The stop string or stop token that ended the text; null for end-of-text. */
    private void writeStopReason(JsonGenerator json, Completion end) throws IOException {
        int[] ids = end.outputTokenIds();
        if (end.finishReason() == FinishReason.DEADLINE) {
            json.writeString("deadline");
        } else if (end.finishReason() != FinishReason.STOP || ids.length == 0) {
            json.writeNull();
        } else if (request.sampling().stopTokenIds().contains(ids[ids.length - 1])) {
            json.writeNumber(ids[ids.length - 1]);
        } else {
            json.writeString(stopString(end));
        }
    }

    private @Nullable String stopString(Completion end) {
        if (request.sampling().stopStrings().isEmpty()) {
            return null;
        }
        String whole = tokenizer.decode(end.outputTokenIds());
        return request.sampling().stopStrings().stream()
                .filter(stop -> whole.startsWith(stop, end.text().length()))
                .max((a, b) -> Integer.compare(a.length(), b.length()))
                .orElse(null);
    }

    private void writeLogprobs(JsonGenerator json) throws IOException {
        json.writeStartObject();
        json.writeArrayFieldStart("tokens");
        for (Token token : tokens) {
            json.writeString(tokenText(token.id));
        }
        json.writeEndArray();
        json.writeArrayFieldStart("token_logprobs");
        for (Token token : tokens) {
            json.writeNumber(finite(token.logprobs.orElseThrow().logprob()));
        }
        json.writeEndArray();
        json.writeArrayFieldStart("top_logprobs");
        for (Token token : tokens) {
            writeTop(json, token);
        }
        json.writeEndArray();
        json.writeArrayFieldStart("text_offset");
        for (Token token : tokens) {
            json.writeNumber(textOffset);
            if (token.id < tokenizer.vocabSize() && !tokenizer.isSpecial(token.id)) {
                String added = offsets.append(token.id);
                textOffset += added.codePointCount(0, added.length());
            }
        }
        json.writeEndArray();
        json.writeEndObject();
    }

    /** The most probable tokens, and the one that was sampled if it is none of them. */
    private void writeTop(JsonGenerator json, Token token) throws IOException {
        TokenLogprobs logprobs = token.logprobs.orElseThrow();
        json.writeStartObject();
        boolean hasSampled = false;
        for (TokenLogprobs.Entry entry : logprobs.top()) {
            hasSampled |= entry.tokenId() == token.id;
            json.writeNumberField(tokenText(entry.tokenId()), finite(entry.logprob()));
        }
        if (!hasSampled) {
            json.writeNumberField(tokenText(token.id), finite(logprobs.logprob()));
        }
        json.writeEndObject();
    }

    private String tokenText(int id) {
        return answer.tokensAsIds() ? "token_id:" + id : TokenNames.of(tokenizer, id);
    }

    /** JSON has no infinity; vLLM writes this. */
    private static float finite(float logprob) {
        return Math.max(logprob, -9999);
    }
}
