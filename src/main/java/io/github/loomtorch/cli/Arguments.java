package io.github.loomtorch.cli;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The arguments of this process as the caller gave them.
 *
 * <p>Java decodes arguments in the locale's encoding. Where no locale is set, as in many containers, that is ASCII, and
 * every other byte arrives as U+FFFD. On Linux the bytes are still in {@code /proc/self/cmdline}, so such arguments are
 * read from there, as UTF-8. On macOS Java always decodes UTF-8. On Windows it decodes the ANSI code page, and Windows
 * replaces characters that this page lacks before Java starts, most by {@code ?}: arguments with {@code ??}, which
 * words of such characters become, are refused. With the code page UTF-8 (65001) none are replaced.
 */
final class Arguments {
    private static final Path COMMAND_LINE = Path.of("/proc/self/cmdline");

    private Arguments() {}

    /**
     * The arguments with every character right.
     *
     * @throws IllegalArgumentException if an argument could not be decoded and cannot be read again
     */
    static String[] exact(String... args) {
        if (System.getProperty("os.name").startsWith("Windows")) {
            requireUnreplaced(platformCharset(), args);
            return args;
        }
        int damaged = firstDamaged(args);
        if (damaged == args.length) {
            return args;
        }
        byte[] commandLine;
        try {
            commandLine = Files.readAllBytes(COMMAND_LINE);
        } catch (IOException e) {
            throw undecodable(damaged, e);
        }
        return reread(commandLine, platformCharset(), args);
    }

    /** Refuses what Windows makes of words that the code page has no characters for. */
    static void requireUnreplaced(Charset codePage, String... args) {
        for (int i = 0; i < args.length && !codePage.equals(StandardCharsets.UTF_8); i++) {
            if (args[i].contains("??") || isDamaged(args[i])) {
                throw new IllegalArgumentException("argument " + (i + 1)
                        + " must have characters of this system's code page only, which is " + codePage
                        + ", got ?? where Windows replaced others; turn on UTF-8 in Windows' regional settings, or give"
                        + " the text to tokenize by standard input and its ids to --prompt-ids");
            }
        }
    }

    /** Takes damaged arguments from the end of a command line, whose arguments each end in a zero byte. */
    static String[] reread(byte[] commandLine, Charset platform, String... args) {
        List<byte[]> given = split(commandLine);
        int offset = given.size() - args.length;
        String[] exact = args.clone();
        for (int i = 0; i < args.length; i++) {
            // They differ where Java took the arguments from elsewhere, such as an @file of its own.
            if (offset < 0 || !new String(given.get(offset + i), platform).equals(args[i])) {
                throw undecodable(firstDamaged(args), null);
            }
            if (isDamaged(args[i])) {
                exact[i] = utf8(given.get(offset + i), i);
            }
        }
        return exact;
    }

    private static boolean isDamaged(String arg) {
        return arg.indexOf('\uFFFD') >= 0;
    }

    private static int firstDamaged(String... args) {
        int i = 0;
        while (i < args.length && !isDamaged(args[i])) {
            i++;
        }
        return i;
    }

    private static List<byte[]> split(byte[] commandLine) {
        List<byte[]> given = new ArrayList<>();
        int start = 0;
        for (int i = 0; i < commandLine.length; i++) {
            if (commandLine[i] == 0) {
                given.add(Arrays.copyOfRange(commandLine, start, i));
                start = i + 1;
            }
        }
        return given;
    }

    private static String utf8(byte[] bytes, int index) {
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
        } catch (CharacterCodingException e) {
            throw new IllegalArgumentException("argument " + (index + 1) + " must be UTF-8, got malformed bytes", e);
        }
    }

    private static IllegalArgumentException undecodable(int index, @Nullable IOException cause) {
        return new IllegalArgumentException(
                "argument " + (index + 1) + " must be readable in this locale's encoding, which is " + platformCharset()
                        + ", got other characters; set LC_ALL=C.UTF-8",
                cause);
    }

    /** The encoding of arguments and file names. */
    static Charset platformCharset() {
        return Charset.forName(System.getProperty("sun.jnu.encoding"), Charset.defaultCharset());
    }
}
