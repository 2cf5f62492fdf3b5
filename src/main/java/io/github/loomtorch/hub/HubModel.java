package io.github.loomtorch.hub;

import java.util.Optional;
import java.util.regex.Pattern;

/**
 * A model on the hub, at a revision. Written {@code name}, {@code organization/name}, or either with {@code @revision}.
 * Immutable.
 *
 * @param repository {@code name} or {@code organization/name}
 * @param revision a branch, a tag or a commit
 */
public record HubModel(String repository, String revision) {
    private static final String DEFAULT_REVISION = "main";

    /** None can lead out of a folder: no part is empty or begins with a dot. */
    private static final Pattern REPOSITORY = Pattern.compile("(\\w([\\w.-]{0,94}\\w)?/)?\\w([\\w.-]{0,94}\\w)?");

    private static final Pattern REVISION = Pattern.compile("(?=.{1,200}$)\\w[\\w.+-]*(/\\w[\\w.+-]*)*");
    private static final Pattern COMMIT = Pattern.compile("[0-9a-f]{40}");

    /**
     * Checks the names.
     *
     * @throws IllegalArgumentException if a name is not one that the hub allows
     */
    public HubModel {
        if (!REPOSITORY.matcher(repository).matches() || repository.contains("..") || repository.contains("--")) {
            throw new IllegalArgumentException(
                    "repository must be a name such as openai-community/gpt2, got " + repository);
        }
        if (!REVISION.matcher(revision).matches() || revision.contains("..")) {
            throw new IllegalArgumentException("revision must be a branch, a tag or a commit, got " + revision);
        }
    }

    /**
     * Reads a name.
     *
     * @param text may be anything
     * @return empty if it is no name of a model
     */
    public static Optional<HubModel> parse(String text) {
        int at = text.indexOf('@');
        try {
            return Optional.of(
                    at < 0
                            ? new HubModel(text, DEFAULT_REVISION)
                            : new HubModel(text.substring(0, at), text.substring(at + 1)));
        } catch (IllegalArgumentException e) {
            return Optional.empty();
        }
    }

    /** Whether the text is the hash of a commit. */
    static boolean isCommit(String text) {
        return COMMIT.matcher(text).matches();
    }

    /** As {@link #parse} reads it. */
    @Override
    public String toString() {
        return revision.equals(DEFAULT_REVISION) ? repository : repository + "@" + revision;
    }
}
