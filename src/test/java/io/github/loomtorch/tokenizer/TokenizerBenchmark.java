package io.github.loomtorch.tokenizer;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.knuddels.jtokkit.Encodings;
import com.knuddels.jtokkit.api.Encoding;
import com.knuddels.jtokkit.api.EncodingType;
import com.knuddels.jtokkit.api.IntArrayList;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/**
 * Encoding speed beside jtokkit's, one thread. An operation is one byte of UTF-8, so {@code ops/us} are MB/s (10^6
 * bytes).
 *
 * <pre>{@code
 * mvn -q test-compile dependency:build-classpath -Dmdep.outputFile=target/classpath
 * java -cp target/test-classes:target/classes:$(cat target/classpath) org.openjdk.jmh.Main TokenizerBenchmark -f 1 -wi 3 -i 5 -w 1 -r 1
 * }</pre>
 *
 * <p>{@code -p text=FILE} measures a text of one's own.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
public class TokenizerBenchmark {

    private static final int TEXT_BYTES = 1_000_000;

    /** Name of the text: sentences of {@code english} or {@code multilingual} in random order, or a file. */
    @Param({"english", "multilingual"})
    public String text;

    private String string;
    private BpeTokenizer loomtorch;
    private Encoding jtokkit;

    /**
     * Reads the tokenizers and the text.
     *
     * @throws IOException if a file cannot be read
     */
    @Setup
    public void setUp() throws IOException {
        loomtorch = BpeTokenizer.load(Path.of("tokenizer"));
        jtokkit = Encodings.newLazyEncodingRegistry().getEncoding(EncodingType.R50K_BASE);
        string = switch (text) {
            case "english" -> shuffled(SampleTexts.ENGLISH);
            case "multilingual" -> shuffled(SampleTexts.MULTILINGUAL);
            default -> exactly(Files.readString(Path.of(text)));
        };
    }

    private static String shuffled(List<String> texts) {
        List<String> sentences = new ArrayList<>();
        texts.forEach(paragraph -> sentences.addAll(List.of(paragraph.split("(?<=[.!?;,。、।؛،፤]) ?"))));
        Random random = new Random(1);
        StringBuilder builder = new StringBuilder();
        while (builder.length() < TEXT_BYTES) {
            builder.append(sentences.get(random.nextInt(sentences.size())));
            builder.append(random.nextInt(8) == 0 ? "\n\n" : " ");
        }
        return exactly(builder.toString());
    }

    /** The text repeated or cut to be {@link #TEXT_BYTES} long in UTF-8. */
    private static String exactly(String text) {
        byte[] utf8 = text.repeat(TEXT_BYTES / text.length() + 1).getBytes(UTF_8);
        int end = Utf8.completeEnd(utf8, 0, TEXT_BYTES);
        return new String(utf8, 0, end, UTF_8) + ".".repeat(TEXT_BYTES - end);
    }

    /** @return the ids, so that the work is not optimised away */
    @Benchmark
    @OperationsPerInvocation(TEXT_BYTES)
    public int[] loomtorch() {
        return loomtorch.encode(string);
    }

    /** @return the ids */
    @Benchmark
    @OperationsPerInvocation(TEXT_BYTES)
    public IntArrayList jtokkit() {
        return jtokkit.encodeOrdinary(string);
    }
}
