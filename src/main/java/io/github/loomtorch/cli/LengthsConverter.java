package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Lengths;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Reads {@link Lengths}. */
final class LengthsConverter implements ITypeConverter<Lengths> {
    static final String FORMS = "N, uniform:MIN:MAX or normal:MEAN:SD";

    @Override
    public Lengths convert(String text) {
        try {
            return Lengths.parse(text);
        } catch (IllegalArgumentException e) {
            throw new TypeConversionException(String.valueOf(e.getMessage()));
        }
    }
}
