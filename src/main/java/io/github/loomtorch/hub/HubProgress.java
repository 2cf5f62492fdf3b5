package io.github.loomtorch.hub;

/** Watches a download. Called on the thread that downloads. */
@FunctionalInterface
public interface HubProgress {
    /** Watches nothing. */
    HubProgress NONE = (received, total) -> {};

    /**
     * More bytes have arrived. Fewer than before if a file has to be read again.
     *
     * @param received bytes of all files that are there, &gt;= 0
     * @param total bytes of all files that were missing
     */
    void received(long received, long total);
}
