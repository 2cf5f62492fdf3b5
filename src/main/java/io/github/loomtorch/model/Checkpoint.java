package io.github.loomtorch.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Stream;

/**
 * The named tensors of a checkpoint, of any format: safetensors, PyTorch's {@code .bin} (both its zip archives and its
 * older format), or several files of these (shards) with an index that says which tensor is in which. Opening reads and
 * checks what describes the tensors; their elements are read by {@link CheckpointTensor#data()}. No file stays open.
 * Nothing in a file is executed. Immutable and thread-safe.
 */
public final class Checkpoint {
    /** The checkpoints in PyTorch's format that a directory may have. */
    static final List<String> TORCH_NAMES = List.of("pytorch_model.bin", "pytorch_model.bin.index.json");

    /** All checkpoints that a directory may have, in the order in which they are looked for. */
    static final List<String> NAMES = Stream.concat(
                    Stream.of("model.safetensors", "model.safetensors.index.json"), TORCH_NAMES.stream())
            .toList();

    private final Path path;
    private final Map<String, CheckpointTensor> tensors;

    Checkpoint(Path path, Map<String, CheckpointTensor> tensors) {
        this.path = path;
        this.tensors = Collections.unmodifiableMap(tensors);
    }

    /**
     * Opens a checkpoint.
     *
     * @param directoryOrFile a file whose name ends in {@code .safetensors} or, for an index, in {@code .index.json};
     *     any other file is taken as PyTorch's; or a directory with {@code model.safetensors},
     *     {@code model.safetensors.index.json}, {@code pytorch_model.bin} or {@code pytorch_model.bin.index.json}, of
     *     which the first counts
     * @return its tensors
     * @throws IOException if a file is missing, cannot be read or is not as the format says, if an index names a file
     *     outside its directory, or a file of the directory is a link to outside of it (links into the {@code blobs} of
     *     Hugging Face's cache are followed); the message names the file, the tensor and the numbers
     */
    public static Checkpoint open(Path directoryOrFile) throws IOException {
        if (Files.isDirectory(directoryOrFile)) {
            String name = NAMES.stream()
                    .filter(candidate -> ModelFiles.has(directoryOrFile, candidate))
                    .findFirst()
                    .orElseThrow(() -> new IOException(
                            directoryOrFile + ": expected one of " + NAMES + ", got a directory without them"));
            return open(ModelFiles.require(directoryOrFile.toString(), directoryOrFile, name));
        }
        if (!Files.isRegularFile(directoryOrFile)) {
            throw new IOException(directoryOrFile + ": expected a file, got "
                    + (Files.exists(directoryOrFile) ? "something else" : "nothing"));
        }
        boolean sharded = directoryOrFile.getFileName().toString().endsWith(".index.json");
        return new Checkpoint(directoryOrFile, sharded ? readShards(directoryOrFile) : readFile(directoryOrFile));
    }

    private static Map<String, CheckpointTensor> readFile(Path file) throws IOException {
        return file.getFileName().toString().endsWith(".safetensors")
                ? Safetensors.read(file)
                : TorchFile.open(file).tensors();
    }

    private static Map<String, CheckpointTensor> readShards(Path index) throws IOException {
        Json json = Json.read(index);
        Json weightMap = Json.of(index + ": weight_map", json.get("weight_map"));
        Map<String, Map<String, CheckpointTensor>> shards = new LinkedHashMap<>();
        Map<String, CheckpointTensor> tensors = new LinkedHashMap<>();
        for (Map.Entry<String, JsonNode> field : weightMap.node().properties()) {
            String name = field.getKey();
            String shard = weightMap.string(name);
            if (!shards.containsKey(shard)) {
                shards.put(shard, readFile(ModelFiles.require(index.toString(), directoryOf(index), shard)));
            }
            CheckpointTensor tensor = shards.get(shard).get(name);
            if (tensor == null) {
                throw new IOException(
                        index + ": expected tensor " + Json.shorten(name) + " in " + shard + ", got a file without it");
            }
            tensors.put(name, tensor);
        }
        return tensors;
    }

    private static Path directoryOf(Path file) {
        return Objects.requireNonNull(file.toAbsolutePath().getParent(), "a file has a parent");
    }

    /**
     * The file that was opened.
     *
     * @return the only file, or the index of a sharded checkpoint
     */
    public Path path() {
        return path;
    }

    /**
     * The names of all tensors.
     *
     * @return in the order of the file or of the index; unmodifiable
     */
    public Set<String> names() {
        return tensors.keySet();
    }

    /**
     * One tensor.
     *
     * @param name one of {@link #names()}
     * @return the tensor, not yet mapped
     * @throws IllegalArgumentException if there is no tensor of that name
     */
    public CheckpointTensor tensor(String name) {
        CheckpointTensor tensor = tensors.get(name);
        if (tensor == null) {
            throw new IllegalArgumentException(
                    "name must be one of the " + tensors.size() + " tensors of " + path + ", got " + name);
        }
        return tensor;
    }
}
