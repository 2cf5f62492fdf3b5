package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.Checkpoints;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Archives and files of the older format that torch.save would not write. */
@Timeout(30)
class TorchFileTest {
    /** {'x': tensor of 2 x 2 from element 1 of storage k, which has 6 floats}. */
    private static final String TENSOR = "\200\2}X\1\0\0\0xctorch._utils\n_rebuild_tensor_v2\n("
            + "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0kX\3\0\0\0cpuK\6tQK\1K\2K\2\206K\2K\1\206\211)tRs.";

    @TempDir
    Path dir;

    private Path zip(Map<String, byte[]> entries) throws IOException {
        Path file = dir.resolve("pytorch_model.bin");
        Checkpoints.writeZip(file, entries, /* compressed= */ false);
        return file;
    }

    private static Map<String, byte[]> entries(String pickle, int storageBytes) {
        Map<String, byte[]> entries = new HashMap<>();
        entries.put("m/data.pkl", pickle.getBytes(StandardCharsets.ISO_8859_1));
        entries.put("m/data/k", new byte[storageBytes]);
        return entries;
    }

    private void assertRefused(String message, Path file) {
        assertEquals(
                file + ": " + message,
                assertThrows(IOException.class, () -> Checkpoint.open(file)).getMessage());
    }

    @Test
    void readsAnArchive() throws IOException {
        CheckpointTensor tensor = Checkpoint.open(zip(entries(TENSOR, 24))).tensor("x");
        assertEquals("[2, 2]", Arrays.toString(tensor.shape()));
        assertEquals(DType.F32, tensor.dtype());
    }

    @Test
    void refusesStoragesThatAreMissingOrOfAnotherSize() throws IOException {
        assertRefused("storage k must have 6 elements of F32, got 20 bytes", zip(entries(TENSOR, 20)));
        assertRefused("storage k must have 6 elements of F32, got 27 bytes", zip(entries(TENSOR, 27)));
        Map<String, byte[]> entries = entries(TENSOR, 24);
        entries.remove("m/data/k");
        assertRefused("expected an entry data/k, got none", zip(entries));
    }

    @Test
    void refusesATensorOutsideItsStorage() throws IOException {
        assertRefused(
                "tensor x: shape [2, 2] with strides [2, 1] from element 3 must lie in a storage of 6 elements of F32",
                zip(entries(TENSOR.replace("QK\1K\2K\2", "QK\3K\2K\2"), 24)));
    }

    @Test
    void refusesArchivesThatAreNoCheckpoints() throws IOException {
        assertRefused("expected an archive of torch.save, got one without data.pkl", zip(Map.of("a/b", new byte[1])));
        assertRefused("expected a dict of tensors, got something else", zip(entries("K\1.", 0)));
        Map<String, byte[]> entries = entries(TENSOR, 24);
        entries.put("m/byteorder", "big".getBytes(StandardCharsets.UTF_8));
        assertRefused("byte order must be little", zip(entries));
    }

    @Test
    void aStateDictThatContainsItselfDoesNoHarm() throws IOException {
        String pickle = "}q\0X\12\0\0\0state_dicth\0s.";
        assertEquals(Set.of(), Checkpoint.open(zip(entries(pickle, 0))).names());
    }

    @Test
    void refusesAPickleThatIsTooLarge() throws IOException {
        Map<String, byte[]> entries = entries(TENSOR, 24);
        entries.put("m/data.pkl", new byte[Pickle.MAX_BYTES + 1]);
        assertRefused("data.pkl must have <= 16777216 bytes, got 16777217", zip(entries));
    }

    @Test
    void refusesOtherFiles() throws IOException {
        Path file = dir.resolve("pytorch_model.bin");
        Files.writeString(file, "version https://git-lfs.github.com/spec/v1\n");
        assertRefused(
                "expected a file of torch.save, which begins with PK or 0x80, got 0x76657273; is it a Git LFS pointer?",
                file);
        Files.write(file, new byte[] {'P'});
        assertRefused("expected a file of torch.save, got 1 bytes", file);
        Files.write(file, new byte[] {'P', 'K', 3, 4});
        assertRefused(
                "expected a zip archive, got one that is damaged: it has no directory; is the download complete?",
                file);
    }

    @Test
    void damagedDirectoriesAreRefused() throws IOException {
        byte[] whole = Files.readAllBytes(zip(entries(TENSOR, 24)));
        Path file = dir.resolve("damaged.bin");
        int refused = 0;
        for (int i = 0; i < whole.length; i++) {
            byte[] damaged = whole.clone();
            damaged[i] ^= (byte) 0xFF;
            Files.write(file, damaged);
            try {
                Checkpoint.open(file);
            } catch (IOException e) {
                assertTrue(e.getMessage().startsWith(file + ": "), e.getMessage());
                refused++;
            }
        }
        assertTrue(refused > 100, "refused " + refused + " of " + whole.length);
    }

    private Path legacy(String machine, String keys, long elements, int bytes) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.writeBytes(("\200\2\212\12\154\374\234\106\371\40\152\250\120\31.\200\2M\351\3." + machine + TENSOR + keys)
                .getBytes(StandardCharsets.ISO_8859_1));
        out.writeBytes(ByteBuffer.allocate(8)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(elements)
                .array());
        out.writeBytes(new byte[bytes]);
        return Files.write(dir.resolve("pytorch_model.bin"), out.toByteArray());
    }

    @Test
    void readsAndChecksTheOlderFormat() throws IOException {
        String little = "}X\15\0\0\0little_endian\210s.";
        String keys = "]X\1\0\0\0ka.";
        assertEquals(Set.of("x"), Checkpoint.open(legacy(little, keys, 6, 24)).names());
        assertRefused("byte order must be little", legacy(little.replace('\210', '\211'), keys, 6, 24));
        assertRefused(
                "listed storages must be those of the tensors, got another",
                legacy(little, keys.replace("kB", "zB").replace("ka", "za"), 6, 24));
        assertRefused("listed storages must be those of the tensors, got another", legacy(little, "]q\0h\0a.", 6, 24));
        assertRefused(
                "storage k must have 6 elements of F32, got 5; is the download complete?", legacy(little, keys, 6, 23));
        assertRefused(
                "storage k must have 6 elements of F32, got 5; is the download complete?",
                legacy(little, keys, Long.MAX_VALUE, 23));
        assertRefused("storage k must be listed once, got it again", legacy(little, "]X\1\0\0\0kaX\1\0\0\0ka.", 6, 32));
        assertRefused("expected storage k of tensor x, got none", legacy(little, "].", 6, 24));
        Path file = Files.write(dir.resolve("x.bin"), new byte[] {(byte) 0x80, 2, 'K', 1, '.'});
        assertRefused("expected a file of torch.save, got a pickle without its magic number", file);
    }
}
