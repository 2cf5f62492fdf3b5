package io.github.loomtorch.cli;

import java.io.IOException;
import java.io.InputStream;
import java.lang.module.ModuleDescriptor;
import java.util.Optional;
import java.util.Properties;
import java.util.regex.Pattern;

/** Versions of the software and a description of the machine, for reports. */
final class Versions {
    private static final String LIBTORCH = "META-INF/maven/org.bytedeco/pytorch/pom.properties";

    private static final Pattern API_KEY = Pattern.compile("(--api-key[ =])\\S*");

    private Versions() {}

    static String loomtorch() {
        return Optional.ofNullable(Versions.class.getModule().getDescriptor())
                .flatMap(ModuleDescriptor::rawVersion)
                .or(() -> Optional.ofNullable(Versions.class.getPackage().getImplementationVersion()))
                .orElse("(not packaged)");
    }

    /** The arguments of this process, the main class or jar first, without secrets. */
    static String command() {
        return API_KEY.matcher(System.getProperty("sun.java.command", "unknown"))
                .replaceAll("$1***");
    }

    static String libtorch() {
        Properties pom = new Properties();
        try (InputStream in = Versions.class.getClassLoader().getResourceAsStream(LIBTORCH)) {
            if (in != null) {
                pom.load(in);
            }
        } catch (IOException e) {
            return "unknown: " + e.getMessage();
        }
        return pom.getProperty("version", "unknown");
    }

    static String java() {
        return System.getProperty("java.runtime.version") + " (" + System.getProperty("java.vm.name") + ", "
                + System.getProperty("java.vendor") + ")";
    }

    static String machine() {
        return System.getProperty("os.name") + " " + System.getProperty("os.version") + " "
                + System.getProperty("os.arch") + ", " + Runtime.getRuntime().availableProcessors() + " processors";
    }
}
