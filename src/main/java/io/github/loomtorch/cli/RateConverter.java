package io.github.loomtorch.cli;

import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Reads a rate, which may be infinite. */
final class RateConverter implements ITypeConverter<Double> {
    @Override
    public Double convert(String text) {
        if (text.equals("inf")) {
            return Double.POSITIVE_INFINITY;
        }
        try {
            return Double.valueOf(text);
        } catch (NumberFormatException e) {
            throw new TypeConversionException("expected a number or inf, got '" + text + "'");
        }
    }
}
