package io.github.loomtorch.cli;

import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Refuses paths that Java cannot name, and says what to do. */
final class PathConverter implements ITypeConverter<Path> {
    @Override
    public Path convert(String text) {
        if (text.isEmpty()) {
            throw new TypeConversionException("expected a path, got ''");
        }
        try {
            return Path.of(text);
        } catch (InvalidPathException e) {
            boolean isEncodable = Arguments.platformCharset().newEncoder().canEncode(text);
            throw new TypeConversionException(
                    isEncodable
                            ? "expected a path, got '" + text + "': " + e.getReason()
                            : "expected a path in this locale's encoding, which is " + Arguments.platformCharset()
                                    + ", got '" + text + "'; set LC_ALL=C.UTF-8");
        }
    }
}
