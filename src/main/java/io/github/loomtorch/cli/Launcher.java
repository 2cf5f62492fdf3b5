package io.github.loomtorch.cli;

import java.lang.reflect.InvocationTargetException;

/**
 * Where {@code java -jar} starts. This class alone is compiled for Java 8, so that a Java that is too old can load it
 * and say which one is needed.
 */
public final class Launcher {
    private static final int OLDEST_JAVA = 21;

    private Launcher() {}

    /**
     * Runs {@link Main}, or ends the process with one sentence and exit status 1 if this Java is too old.
     *
     * @param args a command and its options
     * @throws Throwable if {@link Main} throws it
     */
    public static void main(String[] args) throws Throwable {
        String version = System.getProperty("java.specification.version");
        if (isTooOld(version)) {
            System.err.println(refusal(version, System.getProperty("java.home")));
            System.exit(1);
        }
        try {
            // By name: a compiler for Java 8 cannot read Main's class file.
            Class.forName(Launcher.class.getPackage().getName() + ".Main")
                    .getMethod("main", String[].class)
                    .invoke(null, (Object) args);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    /** Takes {@code java.specification.version}, which is "1.8" for Java 8 and "17" for Java 17. */
    static boolean isTooOld(String version) {
        return version.startsWith("1.") || Integer.parseInt(version) < OLDEST_JAVA;
    }

    static String refusal(String version, String home) {
        return "error: Loomtorch needs Java " + OLDEST_JAVA + " or later, got Java " + version + " in " + home
                + "; start it with the java of a newer one";
    }
}
