package io.github.loomtorch.server;

import com.fasterxml.jackson.core.JsonGenerator;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * One choice of an answer: collects its tokens and its end, and writes them, whole or as the news since the last event
 * of a stream. Confined to the thread of the request.
 */
abstract class Choice {
    private final int index;
    private final GenerationRequest request;
    private final CompletionRequest.Answer answer;
    private final Tokenizer tokenizer;

    // What the next event of a stream has.
    private final StringBuilder text = new StringBuilder();
    private final List<Token> tokens = new ArrayList<>();
    private Optional<Completion> completion = Optional.empty();
    private List<PositionScore> promptScores = List.of();
    private int completionTokens;

    /** A token of the output or of an echoed prompt. */
    record Token(int id, Optional<TokenLogprobs> logprobs) {}

    Choice(int index, GenerationRequest request, CompletionRequest.Answer answer, Tokenizer tokenizer) {
        this.index = index;
        this.request = request;
        this.answer = answer;
        this.tokenizer = tokenizer;
    }

    /**
     * A choice without tokens.
     *
     * @param index the prompt's place times n, plus the continuation's
     */
    static Choice of(int index, GenerationRequest request, CompletionRequest.Answer answer, Tokenizer tokenizer) {
        return answer.form() == AnswerForm.CHAT
                ? new ChatChoice(index, request, answer, tokenizer)
                : new TextChoice(index, request, answer, tokenizer);
    }

    GenerationRequest request() {
        return request;
    }

    CompletionRequest.Answer answer() {
        return answer;
    }

    Tokenizer tokenizer() {
        return tokenizer;
    }

    int completionTokens() {
        return completionTokens;
    }

    /** The end, unless it has not come yet. */
    Optional<Completion> completion() {
        return completion;
    }

    /** The scores of the prompt's tokens from the second on, as far as they are known. */
    List<PositionScore> promptScores() {
        return promptScores;
    }

    void promptScored(List<PositionScore> scores) {
        promptScores = scores;
    }

    void add(TokenEvent event) {
        if (!answer.output()) { // a token that was generated only because the prompt has nothing to score
            return;
        }
        text.append(event.text());
        tokens.add(new Token(event.tokenId(), event.logprobs()));
        completionTokens++;
    }

    void end(Completion end) {
        completion = Optional.of(end);
        promptScores = end.promptScores();
    }

    /** The end of a choice whose tokens were not added one by one. */
    void endWithAll(Completion end) {
        end(end);
        if (!answer.output()) { // as in add
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
    final void write(JsonGenerator json) throws IOException {
        json.writeStartObject();
        json.writeNumberField("index", index);
        writeNews(json, text.toString(), tokens);
        json.writeStringField("finish_reason", finishReason());
        json.writeFieldName("stop_reason");
        if (completion.isPresent()) {
            writeStopReason(json, completion.get());
        } else {
            json.writeNull();
        }
        if (answer.tokenIds()) {
            json.writeFieldName("token_ids");
            int[] ids = tokens.stream().mapToInt(Token::id).toArray();
            json.writeArray(ids, 0, ids.length);
        }
        json.writeEndObject();
        text.setLength(0);
        tokens.clear();
    }

    /** Writes the fields that the two forms have each in their own way. */
    abstract void writeNews(JsonGenerator json, String newText, List<Token> newTokens) throws IOException;

    /** OpenAI's words: a generation that was cancelled or ran out of time was aborted. Null before the end. */
    private @Nullable String finishReason() {
        if (completion.isEmpty()) {
            return answer.isPlainEcho() ? "length" : null;
        }
        return switch (completion.get().finishReason()) {
            case STOP -> answer.output() ? "stop" : "length";
            case LENGTH -> "length";
            case CANCELLED, DEADLINE -> "abort";
        };
    }

    String decode(int[] ids) {
        return tokenizer.decode(
                Arrays.stream(ids).filter(id -> id < tokenizer.vocabSize()).toArray());
    }

    /** The stop string or stop token that ended the text; null for end-of-text. */
    private void writeStopReason(JsonGenerator json, Completion end) throws IOException {
        int[] ids = end.outputTokenIds();
        if (end.finishReason() == FinishReason.DEADLINE) {
            json.writeString("deadline");
        } else if (!answer.output() || end.finishReason() != FinishReason.STOP || ids.length == 0) {
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
        int[] ids = Arrays.stream(end.outputTokenIds())
                .filter(id -> id < tokenizer.vocabSize() && !tokenizer.isSpecial(id)) // the others have no text
                .toArray();
        String whole = decode(ids);
        return request.sampling().stopStrings().stream()
                .filter(stop -> isInText
                        ? end.text().endsWith(stop)
                        : whole.startsWith(stop, end.text().length()))
                .max((a, b) -> Integer.compare(a.length(), b.length()))
                .orElse(null);
    }

    static List<TokenLogprobs.Entry> first(int n, TokenLogprobs logprobs) {
        return logprobs.top().subList(0, Math.min(n, logprobs.top().size()));
    }

    String tokenText(int id) {
        return answer.tokensAsIds() ? "token_id:" + id : TokenNames.of(tokenizer, id);
    }

    /** JSON has no infinity; vLLM writes this. */
    static float finite(float logprob) {
        return Math.max(logprob, -9999);
    }
}
