package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/**
 * A directory that holds a model: {@code config.json} and weights (see {@link Checkpoint#open}), or the
 * {@code model.ts} exported from them, or both; maybe {@code generation_config.json}; maybe a tokenizer too. A
 * directory with nanoGPT's {@code ckpt.pt} needs no {@code config.json}. A file may be a link within the directory or
 * into the {@code blobs} of Hugging Face's cache; links to other places are refused. Immutable and thread-safe.
 */
public final class ModelDirectory {
    private static final String CONFIG = "config.json";
    private static final String GENERATION_CONFIG = "generation_config.json";
    private static final String TORCH_SCRIPT = "model.ts";

    private final Path path;
    private final Gpt2Config config;
    private final GenerationConfig generationConfig;
    private final boolean nanoGpt; // the weights are those of ckpt.pt

    private ModelDirectory(Path path, Gpt2Config config, GenerationConfig generationConfig, boolean nanoGpt) {
        this.nanoGpt = nanoGpt;
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
        boolean nanoGpt = !ModelFiles.has(path, CONFIG) && ModelFiles.has(path, NanoGpt.NAME);
        if (!nanoGpt && !ModelFiles.has(path, CONFIG)) {
            throw new IOException(path + ": expected config.json, got a directory without it");
        }
        Gpt2Config config = nanoGpt
                ? NanoGpt.readConfig(ModelFiles.require(path.toString(), path, NanoGpt.NAME))
                : Gpt2Config.read(ModelFiles.require(path.toString(), path, CONFIG));
        GenerationConfig generationConfig = ModelFiles.has(path, GENERATION_CONFIG)
                ? GenerationConfig.read(ModelFiles.require(path.toString(), path, GENERATION_CONFIG))
                : GenerationConfig.NONE;
        if (!generationConfig.endOfTextIds().isEmpty()) {
            config = config.withEndOfTextIds(generationConfig.endOfTextIds());
        }
        ModelDirectory directory = new ModelDirectory(path, config, generationConfig, nanoGpt);
        if (!directory.hasWeights() && !Files.isRegularFile(directory.torchScript())) {
            throw new IOException(path + ": expected one of " + Checkpoint.NAMES + " or " + TORCH_SCRIPT
                    + ", got a directory without them");
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
     * The model's configuration. Where {@code generation_config.json} names end-of-text tokens, those count. Whether
     * the head is tied is only known from the weights: {@link Gpt2Weights#config()}.
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
     * Whether there are weights.
     *
     * @return true if the directory has a checkpoint in any format
     */
    public boolean hasWeights() {
        return nanoGpt || Checkpoint.NAMES.stream().anyMatch(name -> ModelFiles.has(path, name));
    }

    /**
     * Opens the checkpoint and finds the model's weights in it.
     *
     * @return the weights and the configuration that fits them
     * @throws IOException if there is no checkpoint, or it is bad or is not of this model (see {@link Checkpoint#open}
     *     and {@link Gpt2Weights#of})
     */
    public Gpt2Weights weights() throws IOException {
        return Gpt2Weights.of(config, checkpoint());
    }

    private Checkpoint checkpoint() throws IOException {
        return nanoGpt ? NanoGpt.open(ModelFiles.require(path.toString(), path, NanoGpt.NAME)) : Checkpoint.open(path);
    }

    /**
     * Tells whether something made from this model, such as its {@code model.ts}, is still good: covers all of
     * {@code config.json} and, for each file of the weights, its name, size, time of last modification and, of
     * safetensors, header. The weights' data is not read, so it takes milliseconds for a model of any size.
     *
     * @return 64 hexadecimal digits
     * @throws IOException if a file cannot be read or the checkpoint is bad
     */
    public String fingerprint() throws IOException {
        MessageDigest digest = sha256();
        if (!nanoGpt) {
            digest.update(sha256().digest(Files.readAllBytes(path.resolve(CONFIG))));
        }
        if (hasWeights()) {
            Checkpoint checkpoint = checkpoint();
            if (!checkpoint.files().contains(checkpoint.path())) {
                digest.update(sha256().digest(Files.readAllBytes(checkpoint.path())));
            }
            for (Path file : checkpoint.files()) {
                BasicFileAttributes attributes = Files.readAttributes(file, BasicFileAttributes.class);
                String facts =
                        file.getFileName() + "\n" + attributes.size() + "\n" + attributes.lastModifiedTime() + "\n";
                digest.update(facts.getBytes(StandardCharsets.UTF_8));
                if (file.toString().endsWith(".safetensors")) {
                    digest.update(sha256().digest(Safetensors.readHeader(file)));
                }
            }
        }
        return HexFormat.of().formatHex(digest.digest());
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java platform has SHA-256", e);
        }
    }
}
