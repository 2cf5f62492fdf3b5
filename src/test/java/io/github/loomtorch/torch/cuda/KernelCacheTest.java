package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.request.TorchException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(20)
class KernelCacheTest {
    private static final byte[] CODE = {1, 2, 3, 4, 5};

    @TempDir
    private Path folder;

    private int compiled;

    private byte[] compile() {
        compiled++;
        return CODE;
    }

    private byte[] load(KernelCache cache) {
        return cache.load("key", this::compile, code -> code);
    }

    @Test
    void compilesOnce() {
        KernelCache cache = new KernelCache(folder.resolve("new/folder"));

        assertArrayEquals(CODE, load(cache));
        assertArrayEquals(CODE, load(cache));
        assertArrayEquals(CODE, load(new KernelCache(folder.resolve("new/folder"))));
        assertEquals(1, compiled);
    }

    @Test
    void otherKeysAreCompiledForThemselves() {
        KernelCache cache = new KernelCache(folder);
        load(cache);

        assertArrayEquals(new byte[] {9}, cache.load("other", () -> new byte[] {9}, code -> code));
        assertEquals(1, compiled);
    }

    /** Cut, empty, one bit flipped, or something else. */
    @ParameterizedTest
    @ValueSource(ints = {0, 1, 32, 33, 36})
    void aDamagedFileIsCompiledAgainAndReplaced(int length) throws IOException {
        KernelCache cache = new KernelCache(folder);
        load(cache);
        byte[] kept = Files.readAllBytes(cache.file("key"));
        Files.write(cache.file("key"), java.util.Arrays.copyOf(kept, length));

        assertArrayEquals(CODE, load(cache));
        assertEquals(2, compiled);
        assertArrayEquals(kept, Files.readAllBytes(cache.file("key")));
    }

    @Test
    void aFlippedBitIsFound() throws IOException {
        KernelCache cache = new KernelCache(folder);
        load(cache);
        byte[] kept = Files.readAllBytes(cache.file("key"));
        kept[2] ^= 1;
        Files.write(cache.file("key"), kept);

        assertArrayEquals(CODE, load(cache));
        assertEquals(2, compiled);
    }

    /** Such as a cubin of a compiler that is newer than the driver. */
    @Test
    void codeThatTheDeviceRefusesIsCompiledAgain() {
        KernelCache cache = new KernelCache(folder);
        cache.load("key", () -> new byte[] {7}, code -> code);

        byte[] loaded = cache.load("key", this::compile, code -> {
            if (code[0] == 7) {
                throw new TorchException("refused");
            }
            return code;
        });
        assertArrayEquals(CODE, loaded);
        assertArrayEquals(CODE, cache.read("key"));
    }

    @Test
    void newCodeThatTheDeviceRefusesIsAFailure() {
        KernelCache cache = new KernelCache(folder);

        TorchException thrown = assertThrows(
                TorchException.class,
                () -> cache.load("key", this::compile, code -> {
                    throw new TorchException("refused");
                }));
        assertEquals("refused", thrown.getMessage());
        assertEquals(1, compiled);
    }

    @Test
    void aFolderThatCannotBeWrittenCostsOnlyCompileTime() throws IOException {
        Path file = Files.createFile(folder.resolve("file"));
        KernelCache cache = new KernelCache(file.resolve("folder"));

        assertArrayEquals(CODE, load(cache));
        assertArrayEquals(CODE, load(cache));
        assertEquals(2, compiled);
    }

    /** Each sees either nothing or a whole file, and no temporary file is left. */
    @Test
    void manyCachesShareAFolder() throws Exception {
        int callers = 8;
        CountDownLatch start = new CountDownLatch(callers);
        List<Future<byte[]>> results = new ArrayList<>();
        try (ExecutorService threads = Executors.newFixedThreadPool(callers)) {
            for (int i = 0; i < callers; i++) {
                results.add(threads.submit(() -> {
                    start.countDown();
                    start.await();
                    byte[] last = {};
                    for (int round = 0; round < 50; round++) {
                        last = new KernelCache(folder).load("key" + round, CODE::clone, code -> code);
                    }
                    return last;
                }));
            }
            for (Future<byte[]> result : results) {
                assertArrayEquals(CODE, result.get());
            }
        }
        try (Stream<Path> files = Files.list(folder)) {
            assertEquals(50, files.count());
        }
    }
}
