package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.torch.natives.TensorScope;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalInt;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.IntFunction;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Steps recorded as CUDA graphs, one for each number of rows and kind of attention. Confined to the engine thread. */
final class StepGraphs {
    private static final Logger LOG = LoggerFactory.getLogger(StepGraphs.class);

    /** Launches a step of the first {@code rows} rows, waits for nothing, and returns the address of its logits. */
    interface Step {
        long launch(int rows, AttentionChoice.Kind kind);
    }

    /** A recorded step, and the address of the logits that it leaves until the next step. */
    private record Recorded(GraphRecorder.Graph graph, long logits) {}

    private final TreeMap<Integer, Map<AttentionChoice.Kind, Recorded>> graphs = new TreeMap<>();

    /** Without graphs. */
    StepGraphs() {}

    /**
     * Records.
     *
     * @param synchronize waits for the stream
     * @param rowCounts numbers of rows, ascending
     * @param kinds of attention for a number of rows
     */
    StepGraphs(
            GraphRecorder recorder,
            Step step,
            Runnable synchronize,
            List<Integer> rowCounts,
            IntFunction<Set<AttentionChoice.Kind>> kinds) {
        long start = System.nanoTime();
        int recorded = 0;
        for (int rows : rowCounts.reversed()) { // largest first, so that the smaller ones find room in the pool
            Map<AttentionChoice.Kind, Recorded> byKind = new EnumMap<>(AttentionChoice.Kind.class);
            try (TensorScope scope = new TensorScope()) {
                for (AttentionChoice.Kind kind : kinds.apply(rows)) {
                    step.launch(rows, kind);
                    synchronize.run();
                    long[] logits = new long[1];
                    GraphRecorder.Graph graph = recorder.record(() -> logits[0] = step.launch(rows, kind));
                    byKind.put(kind, new Recorded(graph, logits[0]));
                    recorded++;
                }
            }
            graphs.put(rows, byKind);
        }
        LOG.info("recorded {} graphs in {} ms", recorded, (System.nanoTime() - start) / 1_000_000);
    }

    /** 1, 2, 4, 8, then in steps of a quarter of the power of two below, up to {@code max}. */
    static List<Integer> rowCounts(int max) {
        List<Integer> sizes = new ArrayList<>();
        for (int size = 1; size < max; size += size < 8 ? size : Integer.highestOneBit(size) / 4) {
            sizes.add(size);
        }
        sizes.add(max);
        return sizes;
    }

    /**
     * The numbers of rows to record: {@link #rowCounts}, and a full batch, the most frequent size under load and the
     * largest of steps of decode rows only.
     */
    static List<Integer> recordedRows(int batch, int max) {
        TreeSet<Integer> sizes = new TreeSet<>(rowCounts(max));
        sizes.add(batch);
        return List.copyOf(sizes);
    }

    /** The least recorded number of rows that has room for so many; empty if there is none. */
    OptionalInt rowsFor(int rows) {
        Integer recorded = graphs.ceilingKey(rows);
        return recorded == null ? OptionalInt.empty() : OptionalInt.of(recorded);
    }

    /**
     * Replays a step; {@code rows} is a result of {@link #rowsFor}.
     *
     * @return the address of its logits, [rows, VP] dtype, valid until the next step
     */
    long launch(int rows, AttentionChoice.Kind kind) {
        Recorded recorded =
                Objects.requireNonNull(Objects.requireNonNull(graphs.get(rows)).get(kind));
        recorded.graph.launch();
        return recorded.logits;
    }
}
