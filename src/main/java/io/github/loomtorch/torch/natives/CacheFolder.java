package io.github.loomtorch.torch.natives;

import java.nio.file.Path;
import java.util.function.UnaryOperator;

/**
 * The folder for files that can be made again: compiled kernels and the unpacked embedded model. The first of these
 * that is set and not empty counts:
 *
 * <ol>
 *   <li>the system property {@code loomtorch.cache};
 *   <li>the environment variable {@code LOOMTORCH_CACHE};
 *   <li>the environment variable {@code XDG_CACHE_HOME}, if it is an absolute path: its folder {@code loomtorch};
 *   <li>{@code .cache/loomtorch} in the user's home folder.
 * </ol>
 */
public final class CacheFolder {
    private CacheFolder() {}

    /**
     * Where the cache is.
     *
     * @return a folder, which need not exist
     */
    public static Path path() {
        return path(System::getProperty, System::getenv);
    }

    static Path path(UnaryOperator<String> property, UnaryOperator<String> environment) {
        String chosen = property.apply("loomtorch.cache");
        if (!isSet(chosen)) {
            chosen = environment.apply("LOOMTORCH_CACHE");
        }
        if (isSet(chosen)) {
            return Path.of(chosen);
        }
        String xdg = environment.apply("XDG_CACHE_HOME");
        boolean usable = isSet(xdg) && Path.of(xdg).isAbsolute();
        return usable ? Path.of(xdg, "loomtorch") : Path.of(property.apply("user.home"), ".cache", "loomtorch");
    }

    private static boolean isSet(String value) {
        return value != null && !value.isEmpty();
    }
}
