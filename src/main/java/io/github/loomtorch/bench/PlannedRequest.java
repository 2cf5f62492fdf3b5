package io.github.loomtorch.bench;

import java.util.List;
import java.util.stream.IntStream;

/**
 * When a request is to arrive, and how long it is. Immutable.
 *
 * @param arrivalSeconds after the start, &gt;= 0
 * @param inputTokens &gt;= 1
 * @param outputTokens &gt;= 1
 */
public record PlannedRequest(double arrivalSeconds, int inputTokens, int outputTokens) {

    /**
     * Requests for warming up: those of a plan, again from the first when they run out, all at once.
     *
     * @param plan at least one request
     * @param count how many, &gt;= 0
     * @return requests that arrive at the start
     */
    public static List<PlannedRequest> repeat(List<PlannedRequest> plan, int count) {
        return IntStream.range(0, count)
                .mapToObj(i -> plan.get(i % plan.size()))
                .map(each -> new PlannedRequest(0, each.inputTokens, each.outputTokens))
                .toList();
    }
}
