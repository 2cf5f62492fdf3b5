package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.torch.natives.TensorScope;
import io.github.loomtorch.torch.program.PrefillShape;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.IntFunction;
import org.bytedeco.pytorch.Tensor;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The layers of large prefills, recorded as CUDA graphs for some shapes. Confined to the engine thread. */
final class PrefillGraphs {
    private static final Logger LOG = LoggerFactory.getLogger(PrefillGraphs.class);

    /**
     * A recorded prefill.
     *
     * @param input [ints] int32, which all graphs share
     * @param result of the layers
     */
    record Recorded(PrefillShape shape, Tensor input, GraphRecorder.Graph graph, CudaLayers.Hidden result) {}

    private final List<Recorded> graphs = new ArrayList<>(); // smallest first

    /** Without graphs. */
    PrefillGraphs() {}

    /**
     * Records.
     *
     * @param synchronize waits for the stream
     * @param shapes to record, smallest first
     * @param inputs makes room for a prefill's input, of so many ints
     */
    PrefillGraphs(
            GraphRecorder recorder,
            CudaLayers layers,
            Runnable synchronize,
            List<PrefillShape> shapes,
            IntFunction<Tensor> inputs) {
        long start = System.nanoTime();
        int ints = shapes.stream().mapToInt(PrefillShape::ints).max().orElse(0);
        Tensor input = recorder.keep(inputs.apply(ints));
        input.zero_(); // no sequences, and token ids that exist
        for (PrefillShape shape : shapes.reversed()) { // largest first, so that the smaller ones find room in the pool
            try (TensorScope scope = new TensorScope()) {
                layers.prefill(shape, input);
                synchronize.run();
                CudaLayers.Hidden[] result = new CudaLayers.Hidden[1];
                GraphRecorder.Graph graph = recorder.record(() -> result[0] = layers.prefill(shape, input));
                recorder.keep(result[0].x());
                graphs.addFirst(new Recorded(shape, input, graph, result[0]));
            }
        }
        LOG.info("recorded {} prefills in {} ms", shapes.size(), (System.nanoTime() - start) / 1_000_000);
    }

    /** The smallest recorded prefill that has room for another. */
    Optional<Recorded> forShape(PrefillShape exact) {
        return graphs.stream()
                .filter(recorded -> recorded.shape().hasRoomFor(exact))
                .findFirst();
    }
}
