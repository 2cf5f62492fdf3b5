package io.github.loomtorch.server;

import com.fasterxml.jackson.core.JsonGenerator;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.tokenizer.IncrementalDecoder;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** A choice as {@code /v1/completions} writes it. Confined to the thread of the request. */
final class TextChoice extends Choice {
    private final IncrementalDecoder offsets;
    private int textOffset; // code points of the text before the next token
    private boolean wrotePrompt;

    TextChoice(int index, GenerationRequest request, CompletionRequest.Answer answer, Tokenizer tokenizer) {
        super(index, request, answer, tokenizer);
        offsets = new IncrementalDecoder(tokenizer);
    }

    @Override
    void writeNews(JsonGenerator json, String newText, List<Token> newTokens) throws IOException {
        int[] prompt = wrotePrompt ? new int[0] : request().promptTokenIds();
        json.writeStringField("text", !wrotePrompt && answer().echo() ? decode(prompt) + newText : newText);
        json.writeFieldName("logprobs");
        if (answer().logprobs().isPresent()) {
            writeLogprobs(json, answer().echo() ? prompt : new int[0], newTokens);
        } else {
            json.writeNull();
        }
        if (answer().promptLogprobs().isPresent()) {
            json.writeFieldName("prompt_logprobs");
            writePromptLogprobs(json, prompt);
        }
        if (answer().tokenIds() && !wrotePrompt) {
            json.writeFieldName("prompt_token_ids");
            json.writeArray(prompt, 0, prompt.length);
        }
        wrotePrompt = true;
    }

    private void writeLogprobs(JsonGenerator json, int[] echoed, List<Token> newTokens) throws IOException {
        List<Token> all = new ArrayList<>();
        for (int i = 0; i < echoed.length; i++) {
            all.add(new Token(echoed[i], promptLogprobs(i)));
        }
        all.addAll(newTokens);
        json.writeStartObject();
        json.writeArrayFieldStart("tokens");
        for (Token token : all) {
            json.writeString(tokenText(token.id()));
        }
        json.writeEndArray();
        json.writeArrayFieldStart("token_logprobs");
        for (Token token : all) {
            if (token.logprobs().isPresent()) {
                json.writeNumber(finite(token.logprobs().get().logprob()));
            } else {
                json.writeNull();
            }
        }
        json.writeEndArray();
        json.writeArrayFieldStart("top_logprobs");
        for (Token token : all) {
            if (token.logprobs().isPresent()) {
                writeTop(json, token.id(), token.logprobs().get());
            } else {
                json.writeNull();
            }
        }
        json.writeEndArray();
        json.writeArrayFieldStart("text_offset");
        for (int i = 0; i < all.size(); i++) {
            int id = all.get(i).id();
            json.writeNumber(textOffset);
            if (id < tokenizer().vocabSize()
                    && (i < echoed.length || !tokenizer().isSpecial(id))) {
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
            for (TokenLogprobs.Entry entry : first(answer().promptLogprobs().orElse(0), logprobs.get())) {
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
        json.writeStringField("decoded_token", TokenNames.of(tokenizer(), id));
        json.writeEndObject();
    }

    /** The most probable tokens, and the one that is there if it is none of them. */
    private void writeTop(JsonGenerator json, int id, TokenLogprobs logprobs) throws IOException {
        json.writeStartObject();
        boolean hasOwn = false;
        for (TokenLogprobs.Entry entry : first(answer().logprobs().orElse(0), logprobs)) {
            hasOwn |= entry.tokenId() == id;
            json.writeNumberField(tokenText(entry.tokenId()), finite(entry.logprob()));
        }
        if (!hasOwn) {
            json.writeNumberField(tokenText(id), finite(logprobs.logprob()));
        }
        json.writeEndObject();
    }
}
