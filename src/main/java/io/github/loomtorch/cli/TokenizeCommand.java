package io.github.loomtorch.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

@Command(
        name = "tokenize",
        header = "Turns text into token ids, or with --decode ids into text.",
        description =
                "Reads standard input unless there is an argument. Text is taken and written exactly, with no line end added.",
        footer = {
            "  loomtorch tokenize \"Hello world\"",
            "  loomtorch tokenize --decode 15496 995",
            "  loomtorch tokenize < book.txt | loomtorch tokenize --decode",
            "  echo '\"Hello world\"' | loomtorch tokenize --jsonl"
        })
final class TokenizeCommand implements Callable<Integer> {
    private static final ObjectMapper JSON = new ObjectMapper();

    @Spec
    private CommandSpec spec;

    @Parameters(paramLabel = "TEXT|ID", description = "Text, or ids, instead of standard input.")
    private List<String> arguments = List.of();

    @Option(names = "--decode", description = "Ids to text.")
    private boolean decode;

    @Option(
            names = "--jsonl",
            description = "One JSON value a line: read strings and write arrays of ids; with --decode the reverse.")
    private boolean jsonl;

    @Option(
            names = "--special",
            description = "Take special tokens such as <|endoftext|> in the text as tokens, not as plain text.")
    private boolean special;

    @Mixin
    private ModelFolderOptions model;

    @Mixin
    private TokenizerOptions tokenizerOptions;

    private Tokenizer tokenizer;
    private PrintWriter out;

    @Override
    public Integer call() throws IOException {
        if (jsonl && !arguments.isEmpty()) {
            throw new IllegalArgumentException(
                    "--jsonl must read standard input, got the argument '" + arguments.get(0) + "'");
        }
        tokenizer = model.isNamed() ? tokenizerOptions.load(model.open()) : tokenizerOptions.load();
        out = spec.commandLine().getOut();
        try (InputLines in = InputLines.open(InputLines.STANDARD_INPUT)) {
            if (jsonl) {
                convertLines(in);
                return 0;
            }
            String text = arguments.isEmpty() ? in.rest() : String.join(" ", arguments);
            if (decode) {
                out.print(tokenizer.decode(parseIds(text)));
            } else {
                out.println(
                        Arrays.stream(encode(text)).mapToObj(Integer::toString).collect(Collectors.joining(" ")));
            }
        }
        return 0;
    }

    private int[] encode(String text) {
        return special ? tokenizer.encodeWithSpecialTokens(text) : tokenizer.encode(text);
    }

    private static int[] parseIds(String text) {
        return Arrays.stream(text.split("[\\s,]+"))
                .filter(word -> !word.isEmpty())
                .mapToInt(word -> {
                    try {
                        return Integer.parseInt(word);
                    } catch (NumberFormatException e) {
                        throw new IllegalArgumentException(
                                ErrorText.cut("token id must be an integer, got '" + word + "'", word), e);
                    }
                })
                .toArray();
    }

    private void convertLines(InputLines in) throws IOException {
        while (in.next()) {
            JsonNode value = in.json(wanted());
            Object converted = decode ? tokenizer.decode(ids(value, in.where())) : encode(text(value, in.where()));
            out.println(JSON.writeValueAsString(converted));
            if (out.checkError()) { // flushes too: a program at the other end may wait for this line
                return;
            }
        }
    }

    private String wanted() {
        return decode ? "a JSON array of token ids" : "a JSON string";
    }

    private String text(JsonNode value, String where) throws IOException {
        if (!value.isTextual()) {
            throw InputLines.mismatch(value, where, wanted());
        }
        return value.textValue();
    }

    private int[] ids(JsonNode value, String where) throws IOException {
        int[] ids = new int[value.size()];
        if (!value.isArray()) {
            throw InputLines.mismatch(value, where, wanted());
        }
        for (int i = 0; i < ids.length; i++) {
            JsonNode id = value.get(i);
            if (!id.isIntegralNumber() || !id.canConvertToInt()) {
                throw InputLines.mismatch(id, where + " element " + i, wanted());
            }
            ids[i] = id.intValue();
            if (ids[i] < 0 || ids[i] >= tokenizer.vocabSize()) {
                throw new IOException(
                        where + ": token id must be in [0, " + tokenizer.vocabSize() + "), got " + ids[i]);
            }
        }
        return ids;
    }
}
