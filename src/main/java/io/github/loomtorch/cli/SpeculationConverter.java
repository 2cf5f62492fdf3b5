package io.github.loomtorch.cli;

import io.github.loomtorch.request.Speculation;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Reads {@code ngram:K}, or {@code N:K} with the length of the n-gram. */
final class SpeculationConverter implements ITypeConverter<Speculation> {
    static final String DESCRIPTION = "Exact speculative decoding by prompt look-up: find the last N tokens earlier in"
            + " the text, and verify the K tokens that followed there in one step. ngram stands for an N of 2. The text"
            + " stays the same.";

    private static final int DEFAULT_NGRAM = 2;
    private static final Pattern FORM = Pattern.compile("(ngram|\\d{1,4}):(\\d{1,4})");

    @Override
    public Speculation convert(String text) {
        Matcher form = FORM.matcher(text);
        if (!form.matches()) {
            throw new TypeConversionException("expected ngram:K or N:K, got '" + text + "'");
        }
        int ngram = form.group(1).equals("ngram") ? DEFAULT_NGRAM : Integer.parseInt(form.group(1));
        try {
            return new Speculation(ngram, Integer.parseInt(form.group(2)));
        } catch (IllegalArgumentException e) {
            throw new TypeConversionException(e.getMessage());
        }
    }
}
