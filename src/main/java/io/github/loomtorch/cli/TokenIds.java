package io.github.loomtorch.cli;

import java.util.Arrays;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Ids given as one argument, separated by commas. */
record TokenIds(int[] values) {

    static final class Converter implements ITypeConverter<TokenIds> {
        @Override
        public TokenIds convert(String text) {
            try {
                return new TokenIds(Arrays.stream(text.split(",", -1))
                        .map(String::strip)
                        .mapToInt(Integer::parseInt)
                        .toArray());
            } catch (NumberFormatException e) {
                throw new TypeConversionException("expected integers separated by commas, got '" + text + "'");
            }
        }
    }
}
