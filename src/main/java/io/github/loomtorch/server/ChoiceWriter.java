package io.github.loomtorch.server;

import com.fasterxml.jackson.core.JsonGenerator;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.tokenizer.IncrementalDecoder;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
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
        end(end);
        if (!answer.output()) { // a token that was generated only because the prompt has nothing to score
            return;
        }
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
        int[] prompt = first ? request.promptTokenIds() : new int[0];
        json.writeStartObject();
        json.writeNumberField("index", index);
        json.writeStringField("text", first && answer.echo() ? decode(prompt) + text : text.toString());
        json.writeFieldName("logprobs");
        if (answer.logprobs().isPresent()) {
            writeLogprobs(json, answer.echo() ? prompt : new int[0]);
        } else {
            json.writeNull();
        }
        json.writeStringField("finish_reason", finishReason());
        json.writeFieldName("stop_reason");
        if (completion.isPresent() && answer.output()) {
            writeStopReason(json, completion.get());
        } else {
            json.writeNull();
        }
        if (answer.promptLogprobs().isPresent()) {
            json.writeFieldName("prompt_logprobs");
            writePromptLogprobs(json, prompt);
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

    /** OpenAI's words: a generation that was cancelled or ran out of time was aborted. Null before the end. */
    private @Nullable String finishReason() {
        if (!answer.output()) {
            return "length";
        }
        return completion
                .map(end -> switch (end.finishReason()) {
                    case STOP -> "stop";
                    case LENGTH -> "length";
                    case CANCELLED, DEADLINE -> "abort";
                })
                .orElse(null);
    }

    private String decode(int[] ids) {
        return tokenizer.decode(
                Arrays.stream(ids).filter(id -> id < tokenizer.vocabSize()).toArray());
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
        boolean isInText = request.sampling().includeStop();
        String whole = decode(end.outputTokenIds());
        return request.sampling().stopStrings().stream()
                .filter(stop -> isInText
                        ? end.text().endsWith(stop)
                        : whole.startsWith(stop, end.text().length()))
                .max((a, b) -> Integer.compare(a.length(), b.length()))
                .orElse(null);
    }

    private void writeLogprobs(JsonGenerator json, int[] echoed) throws IOException {
        List<Token> all = new ArrayList<>();
        for (int i = 0; i < echoed.length; i++) {
            all.add(new Token(echoed[i], promptLogprobs(i)));
        }
        all.addAll(tokens);
        json.writeStartObject();
        json.writeArrayFieldStart("tokens");
        for (Token token : all) {
            json.writeString(tokenText(token.id));
        }
        json.writeEndArray();
        json.writeArrayFieldStart("token_logprobs");
        for (Token token : all) {
            if (token.logprobs.isPresent()) {
                json.writeNumber(finite(token.logprobs.get().logprob()));
            } else {
                json.writeNull();
            }
        }
        json.writeEndArray();
        json.writeArrayFieldStart("top_logprobs");
        for (Token token : all) {
            if (token.logprobs.isPresent()) {
                writeTop(json, token.id, token.logprobs.get());
            } else {
                json.writeNull();
            }
        }
        json.writeEndArray();
        json.writeArrayFieldStart("text_offset");
        for (int i = 0; i < all.size(); i++) {
            int id = all.get(i).id;
            json.writeNumber(textOffset);
            if (id < tokenizer.vocabSize() && (i < echoed.length || !tokenizer.isSpecial(id))) {
                String added = offsets.append(id);
                textOffset += added.codePointCount(0, added.length());
            }
        }
        json.writeEndArray();
        json.writeEndObject();
    }

    /** Of the prompt's token at a position; empty for the first, and after an early end. */
    private Optional<TokenLogprobs> promptLogprobs(int position) {
        List<PositionScore> scores = promptScores();
        return position == 0 || position > scores.size()
                ? Optional.empty()
                : Optional.of(scores.get(position - 1).logprobs());
    }

    private List<PositionScore> promptScores() {
        return completion.map(Completion::promptScores).orElse(List.of());
    }

    /** vLLM's form: for each token of the prompt null, or the most probable ids and its own, with their ranks. */
    private void writePromptLogprobs(JsonGenerator json, int[] prompt) throws IOException {
        json.writeStartArray();
        for (int i = 0; i < prompt.length; i++) {
            Optional<TokenLogprobs> logprobs = promptLogprobs(i);
            if (logprobs.isEmpty()) {
                json.writeNull();
                continue;
            }
            json.writeStartObject();
            boolean hasOwn = false;
            int rank = 0;
            for (TokenLogprobs.Entry entry : first(answer.promptLogprobs().orElse(0), logprobs.get())) {
                hasOwn |= entry.tokenId() == prompt[i];
                writeRanked(json, entry.tokenId(), entry.logprob(), ++rank);
            }
            if (!hasOwn) {
                int ownRank =
                        promptScores().get(i - 1).statistics().orElseThrow().rank();
                writeRanked(json, prompt[i], logprobs.get().logprob(), ownRank);
            }
            json.writeEndObject();
        }
        json.writeEndArray();
    }

    private void writeRanked(JsonGenerator json, int id, float logprob, int rank) throws IOException {
        json.writeObjectFieldStart(Integer.toString(id));
        json.writeNumberField("logprob", finite(logprob));
        json.writeNumberField("rank", rank);
        json.writeStringField("decoded_token", TokenNames.of(tokenizer, id));
        json.writeEndObject();
    }

    private static List<TokenLogprobs.Entry> first(int n, TokenLogprobs logprobs) {
        return logprobs.top().subList(0, Math.min(n, logprobs.top().size()));
    }

    /** The most probable tokens, and the one that is there if it is none of them. */
    private void writeTop(JsonGenerator json, int id, TokenLogprobs logprobs) throws IOException {
        json.writeStartObject();
        boolean hasOwn = false;
        for (TokenLogprobs.Entry entry : first(answer.logprobs().orElse(0), logprobs)) {
            hasOwn |= entry.tokenId() == id;
            json.writeNumberField(tokenText(entry.tokenId()), finite(entry.logprob()));
        }
        if (!hasOwn) {
            json.writeNumberField(tokenText(id), finite(logprobs.logprob()));
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
