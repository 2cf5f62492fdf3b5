package io.github.loomtorch.serial;

import java.io.InvalidObjectException;
import java.io.ObjectStreamException;
import java.io.Serializable;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.RecordComponent;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;

/**
 * What is written in place of a record that has optional components or paths, which Java does not serialize. Reading
 * calls the record's constructor, which validates. Immutable.
 */
public final class SerialForm implements Serializable {
    private static final long serialVersionUID = 1;
    private static final String ROOT = "io.github.loomtorch.";

    private final Class<? extends Record> type;

    @SuppressWarnings("serial") // each component is serializable, or Java says which is not
    private final @Nullable Object[] values;

    /** Takes a record apart: for its {@code writeReplace}. */
    public SerialForm(Record options) {
        type = options.getClass();
        values = Arrays.stream(type.getRecordComponents())
                .map(component -> written(value(options, component)))
                .toArray();
    }

    private static Object value(Record options, RecordComponent component) {
        try {
            return component.getAccessor().invoke(options);
        } catch (IllegalAccessException | InvocationTargetException e) {
            throw new IllegalStateException(e); // accessors of public records only return
        }
    }

    private static @Nullable Object written(Object value) {
        return switch (value) {
            case Optional<?> optional -> optional.map(SerialForm::written).orElse(null);
            case OptionalInt optional -> optional.isPresent() ? optional.getAsInt() : null;
            case OptionalLong optional -> optional.isPresent() ? optional.getAsLong() : null;
            case Path path -> new PathForm(path.toString());
            default -> value;
        };
    }

    private record PathForm(String path) implements Serializable {
        private Object readResolve() {
            return Path.of(path);
        }
    }

    private Object readResolve() throws ObjectStreamException {
        if (!type.getName().startsWith(ROOT)) {
            throw new InvalidObjectException(type.getName() + " is no record of this library");
        }
        RecordComponent[] components = type.getRecordComponents();
        Class<?>[] types =
                Arrays.stream(components).map(RecordComponent::getType).toArray(Class<?>[]::new);
        try {
            Object[] read = new Object[values.length];
            for (int i = 0; i < read.length; i++) {
                read[i] = read(types[i], values[i]);
            }
            return type.getDeclaredConstructor(types).newInstance(read);
        } catch (ReflectiveOperationException | RuntimeException e) {
            InvalidObjectException invalid =
                    new InvalidObjectException(type.getName() + " was written by another version, or damaged");
            invalid.initCause(e);
            throw invalid;
        }
    }

    private static @Nullable Object read(Class<?> type, @Nullable Object value) {
        if (type == Optional.class) {
            return Optional.ofNullable(value);
        }
        if (type == OptionalInt.class) {
            return value == null ? OptionalInt.empty() : OptionalInt.of((Integer) value);
        }
        if (type == OptionalLong.class) {
            return value == null ? OptionalLong.empty() : OptionalLong.of((Long) value);
        }
        return value;
    }
}
