package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.Resources;
import org.bytedeco.cuda.cudart.CUgraphExec_st;
import org.bytedeco.cuda.cudart.CUgraph_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.cuda.DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair;
import org.bytedeco.pytorch.cuda.MemPool;
import org.bytedeco.pytorch.cuda.StreamFilter;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * Records work on one stream as CUDA graphs, which share a memory pool. Owns the graphs, until it is closed. Confined
 * to the engine thread.
 */
final class GraphRecorder implements AutoCloseable {
    /** A recorded graph, to be replayed on the recorder's stream. */
    final class Graph {
        private final CUgraphExec_st exec;

        private Graph(CUgraphExec_st exec) {
            this.exec = exec;
        }

        void launch() {
            Cuda.check(cudart.cudaGraphLaunch(exec, stream), "cudaGraphLaunch");
        }
    }

    private final byte device;
    private final CUstream_st stream;
    private final Resources resources = new Resources();
    private final DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair poolId;
    private final StreamFilter ownStream;

    /** For a stream of a GPU. */
    GraphRecorder(byte device, CUstream_st stream) {
        this.device = device;
        this.stream = stream;
        // The presets take the id, two integers, for a type whose deallocator would crash: it is never freed.
        poolId = resources.keep(new MemPool()).id().retainReference();
        poolId.deallocate(false);
        ownStream = resources.keep(new StreamFilter() {
            @Override
            public boolean call(Pointer other) {
                return other.address() == stream.address();
            }
        });
    }

    /**
     * Records what {@code work} launches. It must have run once before: a first run allocates workspaces and chooses
     * algorithms, which cannot be recorded.
     */
    Graph record(Runnable work) {
        CUgraph_st graph = new CUgraph_st();
        boolean complete = false;
        torch_cuda.beginAllocateToPool(device, poolId, ownStream);
        resources.onClose(() -> torch_cuda.getAllocator().releasePool(device, poolId));
        try {
            Cuda.check(
                    cudart.cudaStreamBeginCapture(stream, cudart.cudaStreamCaptureModeThreadLocal),
                    "cudaStreamBeginCapture");
            try {
                work.run();
                complete = true;
            } finally {
                int ended = cudart.cudaStreamEndCapture(stream, graph);
                if (complete) {
                    Cuda.check(ended, "cudaStreamEndCapture");
                } else {
                    cudart.cudaGraphDestroy(graph);
                }
            }
        } finally {
            torch_cuda.endAllocateToPool(device, poolId);
        }
        CUgraphExec_st exec = new CUgraphExec_st();
        int instantiated = cudart.cudaGraphInstantiate(exec, graph, 0);
        cudart.cudaGraphDestroy(graph);
        Cuda.check(instantiated, "cudaGraphInstantiate");
        resources.onClose(() -> cudart.cudaGraphExecDestroy(exec));
        return new Graph(exec);
    }

    /** Lets what a graph reads or writes outlive the scope that it was made in, until this is closed. */
    <P extends Pointer> P keep(P pointer) {
        return resources.keep(pointer);
    }

    @Override
    public void close() {
        resources.close();
    }
}
