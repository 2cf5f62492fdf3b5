package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Pickles are written as in {@code pickletools}: a character is a byte. */
@Timeout(20)
class PickleTest {
    private static final String STORAGE = "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0kX\3\0\0\0cpuK\6tQ";
    private static final String TENSOR =
            "ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + "K\1K\2K\2\206K\2K\1\206\211)tR.";

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "K\\7. | 7",
                "M\\1\\2. | 513",
                "J\\377\\377\\377\\377. | -1",
                "\\212\\0. | 0",
                "\\212\\2\\0\\200. | -32768",
                "\\212\\2\\377\\0. | 255",
                "G?\\370\\0\\0\\0\\0\\0\\0. | 1.5",
                "N. | None",
                "\\210. | true",
                "(K\\1K\\2t. | [1, 2]",
                "K\\1K\\2\\206. | [1, 2]",
                "](K\\1K\\2e. | [1, 2]",
                "}X\\1\\0\\0\\0aK\\1s. | {a=1}",
                "}(X\\1\\0\\0\\0aK\\1K\\2K\\3u. | {a=1, 2=3}",
                "\\200\\4\\225\\4\\0\\0\\0\\0\\0\\0\\0\\214\\1x\\224. | x",
                "X\\1\\0\\0\\0aq\\5h\\5\\206. | [a, a]",
                "ccollections\\nOrderedDict\\n)R}X\\1\\0\\0\\0_NsbX\\1\\0\\0\\0aK\\1s. | {a=1}",
                "ctorch\\nSize\\nK\\1K\\2\\206\\205R. | [1, 2]",
                "c__torch__.a\\nGpt2\\n)\\201}X\\1\\0\\0\\0aK\\1sb. | {a=1}",
                "\\214\\5torch\\214\\4Size\\223K\\1\\205\\205R. | [1]",
            })
    void readsPlainData(String pickle, String value) throws IOException {
        assertEquals(value, read(unescape(pickle)).toString());
    }

    @Test
    void readsIntegersOfAnySize() throws IOException {
        assertEquals(Long.MIN_VALUE, read("\212\10\0\0\0\0\0\0\0\200."));
        assertEquals(BigInteger.ONE.shiftLeft(64), read("\212\11\0\0\0\0\0\0\0\0\1."));
        assertSame(Pickle.NONE, read("N."));
    }

    @Test
    void readsTensorsAndTheirStorages() throws IOException {
        Pickle pickle = pickle(TENSOR);
        Pickle.TensorView tensor = (Pickle.TensorView) pickle.read();
        Pickle.Storage storage = new Pickle.Storage("k", DType.F32, 6);
        assertEquals(storage, tensor.storage());
        assertEquals(1, tensor.offset());
        assertArrayEquals(new long[] {2, 2}, tensor.shape());
        assertArrayEquals(new long[] {2, 1}, tensor.strides());
        assertEquals(Map.of("k", storage), pickle.storages());
        String parameter =
                "ctorch._utils\n_rebuild_parameter\n" + TENSOR.substring(0, TENSOR.length() - 1) + "\210)\207R.";
        assertEquals(1, ((Pickle.TensorView) read(parameter)).offset());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "cos\\nsystem\\n. | byte 0: global must be one that tensors need, got os.system; nothing of the file was executed",
                "cbuiltins\\neval\\n. | byte 0: global must be one that tensors need, got builtins.eval; nothing of the file was executed",
                "\\214\\2os\\214\\6system\\223. | byte 12: global must be one that tensors need, got os.system; nothing of the file was"
                        + " executed",
                "ctorch\\nFooStorage\\n. | byte 0: global must be one that tensors need, got torch.FooStorage; nothing of the file was"
                        + " executed",
                "(ios\\nsystem\\n. | byte 1: instruction must be one of a checkpoint's, got 0x69 (INST)",
                "(o. | byte 1: instruction must be one of a checkpoint's, got 0x6f (OBJ)",
                "N)\\201. | byte 2: NEWOBJ needs the class of a TorchScript module and no arguments",
                "c__torch__\\nGpt2\\nK\\1\\205\\201. | byte 19: NEWOBJ needs the class of a TorchScript module and no arguments",
                "c__torch__\\nGpt2\\n)\\201K\\1K\\2s. | byte 22: SETITEM needs a dict, got a module",
                "c__torch__\\nGpt2\\n)R. | byte 17: REDUCE needs a function and a tuple, got a ModuleType and a tuple",
                "Pid\\n. | byte 0: instruction must be one of a checkpoint's, got 0x50 (PERSID)",
                "\\202\\1. | byte 0: instruction must be one of a checkpoint's, got 0x82 (EXT)",
                "S'x'\\n. | byte 0: instruction must be one of a checkpoint's, got 0x53 (STRING)",
                "\\200\\6. | byte 0: pickle protocol must be <= 5, got 6",
                ". | byte 0: instruction needs a value on the stack, got none",
                "(. | byte 1: instruction needs a value on the stack, got none",
                "K\\1t. | byte 2: instruction needs a mark on the stack, got none",
                "h\\3. | byte 0: memo must have an entry 3, got none",
                "X\\377\\377\\377\\377a | byte 0: string must have <= 65536 bytes, got 4294967295",
                "X\\5\\0\\0\\0ab | byte 0: pickle must end with STOP, got the end of the data",
                "K\\1 | byte 2: pickle must end with STOP, got the end of the data",
                ")K\\1a. | byte 3: APPEND needs a list, got a tuple",
                "K\\1K\\2K\\3s. | byte 6: SETITEM needs a dict, got an int",
                "}(K\\1u. | byte 4: SETITEMS needs keys and values, got 1 values",
                "}]K\\1s. | byte 4: key must be a str or an int, got a list",
                "K\\1)R. | byte 3: REDUCE needs a function and a tuple, got an int and a tuple",
                "ctorch\\nFloatStorage\\n)R. | byte 21: REDUCE needs a function and a tuple, got a StorageType and a tuple",
                "ccollections\\nOrderedDict\\n]\\205R. | byte 27: OrderedDict must be called without arguments, got 1",
                "ctorch\\nSize\\n)R. | byte 13: argument 0 of a tensor's function must be a List, got nothing",
                "K\\1N\\205b. | byte 4: BUILD needs an OrderedDict, got an int",
                "K\\1Q. | byte 2: persistent id must be that of a storage",
            })
    void refusesAllElseByNameAndPlace(String pickle, String message) {
        assertRefused(message, unescape(pickle));
    }

    @Test
    void refusesTensorsThatAreNoTensors() {
        assertRefused(
                "byte 98: tensor must have as many sizes as strides, at most 64, got 2 and 1",
                TENSOR.replace("K\2K\1\206", "K\2\205"));
        assertRefused(
                "byte 98: argument 3 of a tensor's function must be a List, got an int",
                TENSOR.replace("K\2K\1\206\211", "K\2\211\211"));
        assertRefused(
                "byte 87: persistent id must be that of a storage", TENSOR.replace("K\6tQ", "J\377\377\377\377tQ"));
        assertRefused(
                "byte 101: storage k must have one type and size, got two",
                STORAGE + STORAGE.replace("K\6", "K\7") + ".");
    }

    @Test
    void aPickleThatNeverEndsOrIsVeryDeepIsRefused() {
        assertRefused(
                "byte 999999: pickle must have at most 1000000 instructions and 16777216 bytes", "]".repeat(2_000_000));
        String texts = ("X\0\0\1\0" + "x".repeat(1 << 16)).repeat(300);
        assertRefused("byte 16712955: pickle must have at most 1000000 instructions and 16777216 bytes", texts);
    }

    @Test
    void aListThatContainsItselfDoesNoHarm() throws IOException {
        List<?> list = (List<?>) read("]q\0h\0a.");
        assertSame(list, list.get(0));
        assertRefused("byte 9: key must be a str or an int, got a list", "}]q\0h\0aK\1s.");
    }

    private static Pickle pickle(String pickle) {
        return new Pickle("file", ByteBuffer.wrap(pickle.getBytes(StandardCharsets.ISO_8859_1)));
    }

    private static Object read(String pickle) throws IOException {
        return pickle(pickle).read();
    }

    /** Java's octal escapes, which a CSV value cannot have itself. */
    private static String unescape(String text) {
        return text.translateEscapes();
    }

    private static void assertRefused(String message, String pickle) {
        assertEquals(
                "file: " + message,
                assertThrows(IOException.class, () -> read(pickle)).getMessage());
    }
}
