package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import java.io.IOException;

/** Makes an engine on the thread that will run it, as a model may belong to the thread that loads it. */
@FunctionalInterface
public interface EngineFactory {

    /**
     * Called once, on the engine's thread.
     *
     * @return an engine, owned by the caller
     * @throws IOException if the model cannot be read
     */
    Engine create() throws IOException;
}
