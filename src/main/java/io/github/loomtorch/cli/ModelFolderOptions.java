package io.github.loomtorch.cli;

import io.github.loomtorch.hub.Hub;
import io.github.loomtorch.hub.HubModel;
import io.github.loomtorch.model.EmbeddedModel;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.torch.natives.CacheFolder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;

/** Which model. */
final class ModelFolderOptions {
    /** The embedded model's files in a clone, which need not be unpacked. */
    private static final Path IN_CLONE = Path.of("models", "tales");

    @Option(
            names = {"-m", "--model"},
            paramLabel = "DIR|NAME",
            converter = Converter.class,
            description = "Model directory: config.json with model.safetensors, pytorch_model.bin (each in one file or"
                    + " sharded with an index) or an exported model.ts; or nanoGPT's ckpt.pt alone. Or the name of a"
                    + " model on the Hugging Face hub, which is downloaded once: openai-community/gpt2, or with a"
                    + " branch, tag or commit openai-community/gpt2@main (default: the embedded model, tales).")
    private String model;

    private @Nullable ModelDirectory directory; // null until it is opened

    boolean isNamed() {
        return model != null;
    }

    /** The model, downloaded by the first call if that is needed. */
    ModelDirectory open() throws IOException {
        if (directory == null) {
            directory = ModelDirectory.open(model == null ? embedded() : locate(model));
        }
        return directory;
    }

    /** The name on the hub, without the revision; else the name of the directory. */
    String name() throws IOException {
        if (model == null) {
            return "tales";
        }
        Optional<HubModel> named = HubModel.parse(model);
        if (named.isPresent() && !Files.exists(Path.of(model))) {
            return named.get().repository();
        }
        return String.valueOf(open().path().toAbsolutePath().normalize().getFileName());
    }

    /** The embedded model, from the clone that this program is started in, or from the class path. */
    static Path embedded() throws IOException {
        return Files.isDirectory(IN_CLONE)
                ? IN_CLONE
                : EmbeddedModel.unpack(ModelFolderOptions.class.getClassLoader(), CacheFolder.path());
    }

    private static Path locate(String model) throws IOException {
        try (DownloadProgress progress = new DownloadProgress(System.err)) {
            return Hub.locate(model, progress);
        }
    }

    /** Takes a name on the hub, or a path that this locale can have. */
    static final class Converter implements ITypeConverter<String> {
        @Override
        public String convert(String text) {
            return HubModel.parse(text).isPresent()
                    ? text
                    : new PathConverter().convert(text).toString();
        }
    }
}
