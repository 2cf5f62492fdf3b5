package io.github.loomtorch;

import java.io.IOException;
import java.nio.file.Path;

/** The model tales, for {@link TextGenerator}. */
final class EmbeddedModel {
    private EmbeddedModel() {}

    /** As {@link io.github.loomtorch.model.EmbeddedModel#unpack}. */
    static Path unpack(ClassLoader loader, Path cache) throws IOException {
        return io.github.loomtorch.model.EmbeddedModel.unpack(loader, cache);
    }
}
