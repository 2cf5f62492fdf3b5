package io.github.loomtorch.cli;

import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** The value of {@code --weights}: whether weights are quantized to 8 bits. */
final class WeightFormat implements ITypeConverter<Boolean> {
    @Override
    public Boolean convert(String value) {
        return switch (value) {
            case "dtype" -> false;
            case "int8" -> true;
            default -> throw new TypeConversionException("must be dtype or int8, got " + value);
        };
    }
}
