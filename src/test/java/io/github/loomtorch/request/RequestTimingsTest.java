package io.github.loomtorch.request;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.api.Test;

class RequestTimingsTest {

    @Test
    void latenciesCountFromSubmit() {
        RequestTimings timings = new RequestTimings(100, 130, 250, 1150, List.of());
        assertEquals(150, timings.ttftNanos());
        assertEquals(1050, timings.e2elNanos());
    }

    @Test
    void timePerOutputTokenLeavesOutTheFirst() {
        RequestTimings timings = new RequestTimings(100, 130, 250, 1150, List.of());
        assertEquals(300, timings.tpotNanos(4));
        assertEquals(900 / 7.0, timings.tpotNanos(8));
        assertEquals(0, timings.tpotNanos(1));
        assertEquals(0, timings.tpotNanos(0));
    }

    @Test
    void clocksMayBeNegative() {
        assertEquals(30, new RequestTimings(-20, -10, 10, 20, List.of()).ttftNanos());
    }
}
