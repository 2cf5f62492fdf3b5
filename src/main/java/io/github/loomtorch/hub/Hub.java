package io.github.loomtorch.hub;

import io.github.loomtorch.hub.HubConnection.Listing;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Finds the folder of a model, and downloads what is missing of it. Thread-safe, also between processes: one downloads
 * a model, and others wait for it.
 */
public final class Hub {
    private static final Logger LOG = LoggerFactory.getLogger(Hub.class);

    private final HubSettings settings;
    private final HubProgress progress;

    /**
     * A hub.
     *
     * @param settings where it is
     * @param progress watches downloads
     */
    public Hub(HubSettings settings, HubProgress progress) {
        this.settings = settings;
        this.progress = progress;
    }

    /**
     * The folder of a model that is given by folder or by name, with the settings of the environment.
     *
     * @param model a folder that exists, or a path that begins with {@code ./}, {@code ../} or is absolute; else a name
     *     on the hub, see {@link HubModel#parse}; else a path
     * @param progress watches a download
     * @return the folder; if it was given, it need not exist
     * @throws IllegalArgumentException if it is neither a path nor a name
     * @throws IOException if the environment is wrong, or the model cannot be downloaded
     */
    public static Path locate(String model, HubProgress progress) throws IOException {
        Optional<HubModel> name = isPath(model) ? Optional.empty() : HubModel.parse(model);
        if (name.isPresent()) {
            Path home = Path.of(System.getProperty("user.home"));
            Hub hub = new Hub(HubSettings.of(System.getenv(), home), progress);
            try {
                return hub.fetch(name.get());
            } catch (InterruptedIOException e) {
                throw e;
            } catch (IOException e) {
                throw new IOException(e.getMessage() + "; there is no folder " + model + " either", e);
            }
        }
        try {
            return Path.of(model);
        } catch (InvalidPathException e) {
            throw new IllegalArgumentException(
                    "model must be a folder or a name such as openai-community/gpt2, got " + model, e);
        }
    }

    private static boolean isPath(String model) {
        try {
            Path path = Path.of(model);
            return path.isAbsolute() || Files.exists(path);
        } catch (InvalidPathException e) {
            return false;
        }
    }

    /**
     * The folder of a model in the cache, which has the files that the revision has now. If the hub cannot be reached,
     * it has those that it had at the last download.
     *
     * @param model which model
     * @return a folder with the configuration, the tokenizer if the model has one, and the weights
     * @throws IOException if the model cannot be downloaded; says why and what to do
     */
    public Path fetch(HubModel model) throws IOException {
        HubCache cache = new HubCache(settings.cache(), model);
        if (settings.offline()) {
            return cache.find(model.revision())
                    .orElseThrow(() -> new IOException(model + " must be a folder, or in " + settings.cache()
                            + " because HF_HUB_OFFLINE is set, got neither"));
        }
        try (HubConnection connection = new HubConnection(settings, model)) {
            return fetch(model, cache, connection);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new InterruptedIOException("download of " + model + " failed: the thread was interrupted");
        } catch (IOException e) {
            throw new IOException("download of " + model + " from " + settings.endpoint() + " failed: " + reason(e), e);
        }
    }

    private Path fetch(HubModel model, HubCache cache, HubConnection connection)
            throws IOException, InterruptedException {
        Listing listing;
        try {
            listing = Retries.run(settings.timing(), connection::list);
        } catch (HubFailure e) {
            Optional<Path> cached = e.isTemporary() ? cache.find(model.revision()) : Optional.empty();
            if (cached.isEmpty()) {
                throw e;
            }
            LOG.warn("{}: using {} without asking for a newer one: {}", model, cached.get(), e.getMessage());
            return cached.get();
        }
        String commit = listing.commit();
        List<String> files = HubFiles.choose(listing.names());
        if (!files.stream().allMatch(file -> cache.has(commit, file))) {
            try (HubLock lock = HubLock.acquire(cache.lock(), settings.timing().lockPoll())) {
                download(model, commit, files, cache, connection);
            }
        }
        writeRef(model, commit, cache);
        return cache.snapshot(commit);
    }

    /** A cache that cannot be written is good enough if all files are there. */
    private static void writeRef(HubModel model, String commit, HubCache cache) {
        try {
            cache.writeRef(model.revision(), commit);
        } catch (IOException e) {
            LOG.warn("{} will not be found without the hub: {}", model, reason(e));
        }
    }

    private void download(HubModel model, String commit, List<String> files, HubCache cache, HubConnection connection)
            throws IOException, InterruptedException {
        long startNanos = System.nanoTime();
        List<HubFile> missing = new ArrayList<>();
        for (String file : files) {
            if (!cache.has(commit, file)) {
                missing.add(Retries.run(settings.timing(), () -> connection.describe(commit, file)));
            }
        }
        cache.createFolders(commit);
        long total = missing.stream().mapToLong(HubFile::size).sum();
        requireSpace(cache, commit, missing);
        long before = 0;
        for (HubFile file : missing) {
            long others = before;
            if (!Files.isRegularFile(cache.blob(file)) || Files.size(cache.blob(file)) != file.size()) {
                Path partial = cache.partial(file);
                new Download(
                                connection,
                                settings.timing(),
                                commit,
                                file,
                                bytes -> progress.received(others + bytes, total))
                        .run(partial);
                Files.move(
                        partial, cache.blob(file), StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            }
            cache.link(commit, file);
            before += file.size();
        }
        if (!missing.isEmpty()) {
            LOG.info(
                    "downloaded {} at {}: {} files, {} MB in {} s, to {}",
                    model,
                    commit,
                    missing.size(),
                    total / 1_000_000,
                    (System.nanoTime() - startNanos) / 1_000_000_000,
                    cache.snapshot(commit));
        }
    }

    private static void requireSpace(HubCache cache, String commit, List<HubFile> missing) throws IOException {
        long needed = 0;
        for (HubFile file : missing) {
            Path there = Files.exists(cache.blob(file)) ? cache.blob(file) : cache.partial(file);
            needed += file.size() - (Files.exists(there) ? Files.size(there) : 0);
        }
        Path folder = cache.snapshot(commit);
        long free = Files.getFileStore(folder).getUsableSpace();
        if (needed > free) {
            throw new IOException(folder + " must have " + needed + " bytes of free disk space, got " + free
                    + "; choose another cache by HF_HUB_CACHE");
        }
    }

    /** A file system's exception may have a path alone as its message. */
    private static String reason(IOException e) {
        if (e instanceof AccessDeniedException denied) {
            return denied.getFile() + ": access denied; choose another cache by HF_HUB_CACHE";
        }
        if (e instanceof FileSystemException failed) {
            return failed.getFile() + ": "
                    + (failed.getReason() == null ? failed.getClass().getSimpleName() : failed.getReason());
        }
        return e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
    }
}
