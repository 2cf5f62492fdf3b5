package io.github.loomtorch.cli;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.ScoredToken;
import io.github.loomtorch.request.TextScore;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.apache.commons.csv.CSVFormat;
import org.jspecify.annotations.Nullable;

/** A score as JSON, as CSV, and for people. Thread-safe. */
final class ScoreFormat {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final List<String> TEXT_COLUMNS = List.of(
            "line", "tokens", "scored_tokens", "bytes", "sum", "perplexity", "bits_per_byte", "is_greedy", "error");
    private static final List<String> TOKEN_COLUMNS = List.of(
            "line",
            "token",
            "token_id",
            "text",
            "byte_start",
            "byte_end",
            "char_start",
            "char_end",
            "logprob",
            "rank",
            "entropy",
            "variance",
            "error");

    private final Tokenizer tokenizer;
    private final boolean csv; // else JSON
    private final boolean perToken;

    ScoreFormat(Tokenizer tokenizer, boolean csv, boolean perToken) {
        this.tokenizer = tokenizer;
        this.csv = csv;
        this.perToken = perToken;
    }

    /** What was scored. */
    record Scored(TextScore score, boolean isContinuation) {}

    /** Null stands where a token is not scored; what is null as a whole is left out. */
    @JsonInclude(JsonInclude.Include.NON_NULL)
    private record Text(
            int[] tokenIds,
            List<@Nullable Float> logprobs,
            List<@Nullable Integer> ranks,
            double sum,
            int scoredTokens,
            long bytes,
            double perplexity,
            double bitsPerByte,
            @Nullable Boolean isGreedy,
            @Nullable List<Token> tokens) {}

    private record Token(
            String text,
            int byteStart,
            int byteEnd,
            int charStart,
            int charEnd,
            @Nullable Float entropy,
            @Nullable Float variance) {}

    private record Failure(int line, String error) {}

    /** An object or rows. */
    String line(int number, Scored scored) {
        return csv ? csv(number, scored) : json(scored);
    }

    /** The same for a line that failed. */
    String error(int number, String sentence) {
        return csv ? csvError(number, sentence) : json(new Failure(number, sentence));
    }

    private String json(Scored scored) {
        TextScore score = scored.score();
        return json(new Text(
                score.tokens().stream().mapToInt(ScoredToken::tokenId).toArray(),
                values(score, each -> each.logprobs().logprob()),
                values(score, each -> statistics(each).rank()),
                score.sum(),
                score.scoredTokens(),
                score.bytes(),
                score.perplexity(),
                score.bitsPerByte(),
                scored.isContinuation() ? score.isGreedy() : null,
                perToken ? score.tokens().stream().map(this::token).toList() : null));
    }

    private static String json(Object value) {
        try {
            return JSON.writeValueAsString(value);
        } catch (JsonProcessingException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static <T> List<@Nullable T> values(TextScore score, Function<PositionScore, T> value) {
        List<@Nullable T> values = new ArrayList<>();
        for (ScoredToken token : score.tokens()) {
            values.add(token.score().map(value).orElse(null));
        }
        return values;
    }

    private static PositionScore.Statistics statistics(PositionScore score) {
        return score.statistics().orElseThrow();
    }

    private Token token(ScoredToken token) {
        return new Token(
                text(token),
                token.byteStart(),
                token.byteEnd(),
                token.charStart(),
                token.charEnd(),
                token.score().map(each -> statistics(each).entropy()).orElse(null),
                token.score().map(each -> statistics(each).variance()).orElse(null));
    }

    private String text(ScoredToken token) {
        return tokenizer.decode(new int[] {token.tokenId()});
    }

    String csvHeader() {
        return CSVFormat.RFC4180.format((perToken ? TOKEN_COLUMNS : TEXT_COLUMNS).toArray());
    }

    /** A row, or one for each token. */
    private String csv(int line, Scored scored) {
        TextScore score = scored.score();
        if (!perToken) {
            return CSVFormat.RFC4180.format(
                    line,
                    score.tokens().size(),
                    score.scoredTokens(),
                    score.bytes(),
                    score.sum(),
                    score.perplexity(),
                    score.bitsPerByte(),
                    scored.isContinuation() ? score.isGreedy() : "",
                    "");
        }
        List<String> rows = new ArrayList<>();
        for (ScoredToken token : score.tokens()) {
            rows.add(CSVFormat.RFC4180.format(
                    line,
                    rows.size(),
                    token.tokenId(),
                    text(token),
                    token.byteStart(),
                    token.byteEnd(),
                    token.charStart(),
                    token.charEnd(),
                    token.score().<Object>map(each -> each.logprobs().logprob()).orElse(""),
                    token.score().<Object>map(each -> statistics(each).rank()).orElse(""),
                    token.score()
                            .<Object>map(each -> statistics(each).entropy())
                            .orElse(""),
                    token.score()
                            .<Object>map(each -> statistics(each).variance())
                            .orElse(""),
                    ""));
        }
        return String.join(System.lineSeparator(), rows);
    }

    private String csvError(int line, String sentence) {
        Object[] row = new Object[(perToken ? TOKEN_COLUMNS : TEXT_COLUMNS).size()];
        Arrays.fill(row, "");
        row[0] = line;
        row[row.length - 1] = sentence;
        return CSVFormat.RFC4180.format(row);
    }

    /** A table of the tokens if they are wanted, and the totals. */
    String summary(TextScore score) {
        String tokens = !perToken
                ? ""
                : String.format("%10s %8s %8s %9s  %s%n", "logprob", "rank", "entropy", "variance", "token")
                        + score.tokens().stream().map(this::row).collect(Collectors.joining())
                        + System.lineSeparator();
        return tokens
                + String.format(
                        Locale.ROOT,
                        "tokens         %d, scored %d%nbytes          %d%nsum            %.4f%nperplexity     %.4f%n"
                                + "bits per byte  %.4f",
                        score.tokens().size(),
                        score.scoredTokens(),
                        score.bytes(),
                        score.sum(),
                        score.perplexity(),
                        score.bitsPerByte());
    }

    private String row(ScoredToken token) {
        String text = json(text(token));
        return token.score()
                .map(each -> String.format(
                        Locale.ROOT,
                        "%10.4f %8d %8.4f %9.4f  %s%n",
                        each.logprobs().logprob(),
                        statistics(each).rank(),
                        statistics(each).entropy(),
                        statistics(each).variance(),
                        text))
                .orElseGet(() -> String.format("%10s %8s %8s %9s  %s%n", "-", "-", "-", "-", text));
    }
}
