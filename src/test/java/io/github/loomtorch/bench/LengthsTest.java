package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class LengthsTest {
    private static IntStream draw(String lengths) {
        SplittableRandom random = new SplittableRandom(3);
        Lengths parsed = Lengths.parse(lengths);
        return IntStream.range(0, 10_000).map(i -> parsed.draw(random));
    }

    @ParameterizedTest
    @ValueSource(strings = {"128", "uniform:16:960", "normal:128.0:32.0"})
    void theTextIsReadBack(String text) {
        assertEquals(text, Lengths.parse(text).toString());
    }

    @Test
    void lengthsHaveTheDistributionAskedFor() {
        assertEquals(1, draw("7").distinct().count());
        assertEquals(5, draw("uniform:2:6").distinct().count());
        assertEquals(2, draw("uniform:2:6").min().orElseThrow());
        assertEquals(6, draw("uniform:2:6").max().orElseThrow());
        assertEquals(4, draw("uniform:2:6").average().orElseThrow(), 0.1);
        double mean = draw("normal:100:20").average().orElseThrow();
        assertEquals(100, mean, 1);
        assertEquals(
                20,
                Math.sqrt(draw("normal:100:20")
                        .mapToDouble(n -> (n - mean) * (n - mean))
                        .average()
                        .orElseThrow()),
                0.5);
        assertEquals(1, draw("normal:2:20").min().orElseThrow());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "0 | length must be >= 1, got 0",
                "uniform:0:4 | minimum must be >= 1, got 0",
                "uniform:4:3 | maximum must be >= 4, got 3",
                "normal:0:3 | mean must be in [1, 1e9], got 0.0",
                "normal:9:-1 | standard deviation must be in [0, 1e9], got -1.0",
                "uniform:4 | expected N, uniform:MIN:MAX or normal:MEAN:SD, got 'uniform:4'",
                "gamma:4:4 | expected N, uniform:MIN:MAX or normal:MEAN:SD, got 'gamma:4:4'",
                "many | expected N, uniform:MIN:MAX or normal:MEAN:SD, got 'many'",
            })
    void otherFormsAreRefused(String text, String message) {
        assertEquals(
                message,
                assertThrows(IllegalArgumentException.class, () -> Lengths.parse(text))
                        .getMessage());
    }
}
