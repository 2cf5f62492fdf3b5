package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Arrivals;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.server.MetricNames;
import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Finds an enum's constant by its name in small letters, with hyphens. */
abstract class NamedConverter<E extends Enum<E>> implements ITypeConverter<E> {
    private final E[] constants;

    NamedConverter(E[] constants) {
        this.constants = constants;
    }

    @Override
    public final E convert(String text) {
        return Arrays.stream(constants)
                .filter(constant -> nameOf(constant).equals(text))
                .findFirst()
                .orElseThrow(() -> new TypeConversionException("expected "
                        + Arrays.stream(constants).map(NamedConverter::nameOf).collect(Collectors.joining(", "))
                        + ", got '" + text
                        + "'"));
    }

    static String nameOf(Enum<?> constant) {
        return constant.name().toLowerCase(Locale.ROOT).replace('_', '-');
    }

    static final class OfDtype extends NamedConverter<Dtype> {
        OfDtype() {
            super(Dtype.values());
        }
    }

    static final class OfMetricNames extends NamedConverter<MetricNames> {
        OfMetricNames() {
            super(MetricNames.values());
        }
    }

    static final class OfRamp extends NamedConverter<Arrivals.Ramp> {
        OfRamp() {
            super(Arrivals.Ramp.values());
        }
    }

    static final class OfScheduler extends NamedConverter<SchedulerKind> {
        OfScheduler() {
            super(SchedulerKind.values());
        }
    }

    static final class OfWeights extends NamedConverter<WeightFormat> {
        OfWeights() {
            super(WeightFormat.values());
        }
    }
}
