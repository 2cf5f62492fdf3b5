package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.stream.Stream;

/**
 * A directory that holds a model: {@code config.json}, and its weights ({@code model.safetensors}, or the shards of a
 * {@code model.safetensors.index.json}) or the {@code model.ts} exported from them, or both; maybe a tokenizer too,
 * which is not read here. Immutable and thread-safe.
 */
public final class ModelDirectory {
    private static final String CONFIG = "config.json";
    private static final String GENERATION_CONFIG = "generation_config.json";
    private static final String TORCH_SCRIPT = "model.ts";

    private final Path path;
    private final Gpt2Config config;
    private final GenerationConfig generationConfig;

    private ModelDirectory(Path path, Gpt2Config config, GenerationConfig generationConfig) {
        this.path = path;
        this.config = config;
        this.generationConfig = generationConfig;
    }

    /**
     * Looks at a directory and reads its {@code config.json}, and its {@code generation_config.json} if there is one.
     *
     * @param path the directory
     * @return the model in it
     * @throws IOException if it is no directory, {@code config.json} is missing or bad (see {@link Gpt2Config#read}),
     *     or there are neither weights nor a {@code model.ts}
     */
    public static ModelDirectory open(Path path) throws IOException {
        if (!Files.isDirectory(path)) {
            throw new IOException(
                    path + ": expected a model directory, got " + (Files.exists(path) ? "a file" : "nothing"));
        }
        if (!Files.isRegularFile(path.resolve(CONFIG))) {
            throw new IOException(path + ": expected config.json, got a directory without it");
        }
        Gpt2Config config = Gpt2Config.read(path.resolve(CONFIG));
        Path generation = path.resolve(GENERATION_CONFIG);
        GenerationConfig generationConfig =
                Files.isRegularFile(generation) ? GenerationConfig.read(generation) : GenerationConfig.NONE;
        if (!generationConfig.endOfTextIds().isEmpty()) {
            config = config.withEndOfTextIds(generationConfig.endOfTextIds());
        }
        ModelDirectory directory = new ModelDirectory(path, config, generationConfig);
        if (!directory.hasWeights() && !Files.isRegularFile(directory.torchScript())) {
            throw new IOException(path
                    + ": expected model.safetensors, model.safetensors.index.json or model.ts, got a directory without them"
                    + (Files.exists(path.resolve("pytorch_model.bin"))
                            ? "; convert its pytorch_model.bin to safetensors"
                            : ""));
        }
        return directory;
    }

    /**
     * The directory itself.
     *
     * @return as given to {@link #open}
     */
    public Path path() {
        return path;
    }

    /**
     * The model's configuration. Where {@code generation_config.json} names end-of-text tokens, those count.
     *
     * @return as read by {@link #open}
     */
    public Gpt2Config config() {
        return config;
    }

    /**
     * What the model's author suggests for generation; only its end-of-text tokens are applied.
     *
     * @return as read by {@link #open}; without values if the directory has no {@code generation_config.json}
     */
    public GenerationConfig generationConfig() {
        return generationConfig;
    }

    /**
     * Where the exported model lies or will lie.
     *
     * @return {@code model.ts} in this directory, which exists if {@link #hasWeights()} is false
     */
    public Path torchScript() {
        return path.resolve(TORCH_SCRIPT);
    }

    /**
     * Whether there are weights to export the model from.
     *
     * @return true if the directory has a safetensors checkpoint
     */
    public boolean hasWeights() {
        return Stream.of(Safetensors.SINGLE, Safetensors.INDEX).anyMatch(this::has);
    }

    /**
     * Opens the checkpoint.
     *
     * @return its tensors
     * @throws IOException if there is none or it is bad (see {@link Safetensors#open})
     */
    public Safetensors openWeights() throws IOException {
        return Safetensors.open(path);
    }

    /**
     * Tells whether something made from this model, such as its {@code model.ts}, is still good: covers all of
     * {@code config.json} and, for each file of the weights, its name, size, time of last modification and header. The
     * weights' data is not read, so it takes milliseconds for a model of any size.
     *
     * @return 64 hexadecimal digits
     * @throws IOException if a file cannot be read or the checkpoint is bad
     */
    public String fingerprint() throws IOException {
        MessageDigest digest = sha256();
        digest.update(sha256().digest(Files.readAllBytes(path.resolve(CONFIG))));
        if (hasWeights()) {
            Safetensors weights = openWeights();
            if (!weights.files().contains(weights.path())) {
                digest.update(sha256().digest(Files.readAllBytes(weights.path())));
            }
            for (Path file : weights.files()) {
                BasicFileAttributes attributes = Files.readAttributes(file, BasicFileAttributes.class);
                String facts =
                        file.getFileName() + "\n" + attributes.size() + "\n" + attributes.lastModifiedTime() + "\n";
                digest.update(facts.getBytes(StandardCharsets.UTF_8));
                digest.update(sha256().digest(Safetensors.readHeader(file)));
            }
        }
        return HexFormat.of().formatHex(digest.digest());
    }

    private boolean has(String file) {
        return Files.isRegularFile(path.resolve(file));
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java platform has SHA-256", e);
        }
    }
}
