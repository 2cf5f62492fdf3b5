package io.github.loomtorch.hub;

import static java.nio.charset.StandardCharsets.US_ASCII;

import io.github.loomtorch.model.TemporaryFile;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * One model's folder in the cache, in the layout of Python's {@code huggingface_hub}: {@code blobs/HASH} has the bytes,
 * {@code snapshots/COMMIT/FILE} is a link to them, {@code refs/REVISION} has a commit. Immutable.
 */
final class HubCache {
    private final Path root;
    private final String name;

    HubCache(Path root, HubModel model) {
        this.root = root;
        name = "models--" + model.repository().replace("/", "--");
    }

    /** The folder of a commit, which need not exist. */
    Path snapshot(String commit) {
        return folder().resolve("snapshots").resolve(commit);
    }

    /** Where the bytes of a file are, once they are checked. */
    Path blob(HubFile file) {
        return folder().resolve("blobs").resolve(file.hash());
    }

    /** Where a download has got to. Python writes files of other names. */
    Path partial(HubFile file) {
        return blob(file).resolveSibling(file.hash() + ".loomtorch.incomplete");
    }

    /** Held by whoever downloads the model. */
    Path lock() {
        return root.resolve(".locks").resolve(name).resolve("loomtorch.lock");
    }

    /** Whether the snapshot has the file. */
    boolean has(String commit, String file) {
        return Files.isRegularFile(snapshot(commit).resolve(file));
    }

    /** The snapshot of a revision, if it is there with all files that a model needs. */
    Optional<Path> find(String revision) throws IOException {
        Optional<String> commit = HubModel.isCommit(revision) ? Optional.of(revision) : readRef(revision);
        if (commit.isEmpty() || !Files.isDirectory(snapshot(commit.get()))) {
            return Optional.empty();
        }
        Path snapshot = snapshot(commit.get());
        try (Stream<Path> files = Files.list(snapshot)) {
            HubFiles.choose(files.filter(Files::isRegularFile)
                    .map(file -> file.getFileName().toString())
                    .toList());
            return Optional.of(snapshot);
        } catch (HubFailure e) {
            return Optional.empty(); // not all is there
        }
    }

    private Optional<String> readRef(String revision) throws IOException {
        Path ref = ref(revision);
        if (!Files.isRegularFile(ref)) {
            return Optional.empty();
        }
        byte[] bytes;
        try (var in = Files.newInputStream(ref)) {
            bytes = in.readNBytes(64);
        }
        return Optional.of(new String(bytes, US_ASCII).strip()).filter(HubModel::isCommit);
    }

    /** Says which commit a revision is. */
    void writeRef(String revision, String commit) throws IOException {
        if (!HubModel.isCommit(revision) && !readRef(revision).equals(Optional.of(commit))) {
            Path ref = ref(revision);
            Files.createDirectories(ref.getParent());
            TemporaryFile.write(ref, output -> output.write(ByteBuffer.wrap(commit.getBytes(US_ASCII)), 0));
        }
    }

    /** Creates the folders that a download needs. */
    void createFolders(String commit) throws IOException {
        for (Path folder : List.of(folder().resolve("blobs"), snapshot(commit))) {
            Files.createDirectories(folder);
        }
    }

    /** Puts a blob into a snapshot: as a link, or where links cannot be made, by moving it. */
    void link(String commit, HubFile file) throws IOException {
        Path snapshot = snapshot(commit);
        Path target = snapshot.resolve(file.name());
        Files.deleteIfExists(target); // a link to a blob that is gone
        try {
            Files.createSymbolicLink(target, snapshot.relativize(blob(file)));
        } catch (IOException | UnsupportedOperationException e) {
            Files.move(blob(file), target, StandardCopyOption.ATOMIC_MOVE);
        }
    }

    private Path ref(String revision) {
        return folder().resolve("refs").resolve(revision);
    }

    private Path folder() {
        return root.resolve(name);
    }
}
