package io.github.loomtorch.model;

import java.io.IOException;
import java.math.BigInteger;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.AbstractMap;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Reads the pickles in PyTorch's checkpoints. A pickle is a program for a stack machine that can call any function of
 * Python; this reader knows only the instructions that build plain data, and the few functions that build tensors, and
 * computes these itself. Anything else is refused by name. Nothing is executed, and no class is looked up.
 *
 * <p>Python's values become: dict and OrderedDict a {@code Map}, list and tuple a {@code List}, str a {@code String},
 * int a {@code Long} or {@code BigInteger}, float a {@code Double}, bool a {@code Boolean}, None {@link #NONE}, a
 * tensor a {@link TensorView}. A TorchScript module becomes a {@code Map} of its attributes.
 *
 * <p>Limits: 16 MiB and 1,000,000 instructions a pickle, 64 KiB a string, 64 dimensions a tensor.
 */
final class Pickle {
    /*
     * [1] Python, Lib/pickletools.py, https://github.com/python/cpython/blob/main/Lib/pickletools.py
     * [2] PyTorch, torch/serialization.py and torch/_utils.py, https://github.com/pytorch/pytorch
     */

    /** Maximum size of a pickle: a thousand times that of GPT-2's checkpoints. */
    static final int MAX_BYTES = 16 << 20;

    /** Python's None. */
    static final Object NONE = new Object() {
        @Override
        public String toString() {
            return "None";
        }
    };

    private static final int MAX_INSTRUCTIONS = 1_000_000;
    private static final int MAX_STRING_BYTES = 1 << 16;
    private static final int MAX_DIMENSIONS = 64;
    private static final int MAX_PROTOCOL = 5;

    private static final Map<String, DType> STORAGES = Map.of(
            "torch DoubleStorage", DType.F64,
            "torch FloatStorage", DType.F32,
            "torch HalfStorage", DType.F16,
            "torch BFloat16Storage", DType.BF16,
            "torch LongStorage", DType.I64,
            "torch IntStorage", DType.I32,
            "torch ShortStorage", DType.I16,
            "torch CharStorage", DType.I8,
            "torch ByteStorage", DType.U8,
            "torch BoolStorage", DType.BOOL);

    /** The data that tensors are views of, which is outside the pickle. */
    record Storage(String key, DType dtype, long elements) {}

    /** A tensor: offset and strides are in elements. */
    record TensorView(Storage storage, long offset, long[] shape, long[] strides) {}

    /** A function or class of Python that may be named. */
    private sealed interface Global {}

    private record StorageType(DType dtype) implements Global {}

    private enum Function implements Global {
        ORDERED_DICT("collections OrderedDict"),
        SIZE("torch Size"),
        TENSOR("torch._utils _rebuild_tensor_v2"),
        PARAMETER("torch._utils _rebuild_parameter");

        private final String name;

        Function(String name) {
            this.name = name;
        }
    }

    /** A class of a TorchScript archive: its code is in the archive and not looked at here. */
    private enum ModuleType implements Global {
        MODULE
    }

    /** A TorchScript module: its attributes by name, which it shares with the pickle: copies could fill the memory. */
    private static final class Module extends AbstractMap<Object, Object> {
        private Map<Object, Object> attributes = Map.of();

        @Override
        public Set<Entry<Object, Object>> entrySet() {
            return attributes.entrySet();
        }
    }

    private static final Object MARK = new Object();

    private final String where;
    private final ByteBuffer in;
    private final int start;
    private int at; // of the instruction that is executed
    private final List<Object> stack = new ArrayList<>();
    private final Map<Integer, Object> memo = new HashMap<>();
    private final Map<String, Storage> storages = new LinkedHashMap<>();

    /**
     * A reader of the pickle that begins at a buffer's position.
     *
     * @param where what messages begin with
     * @param in moved behind the pickle by {@link #read}
     */
    Pickle(String where, ByteBuffer in) {
        this.where = where;
        this.in = in.order(ByteOrder.LITTLE_ENDIAN);
        this.start = in.position();
    }

    /** The storages that the pickle names, by their keys. */
    Map<String, Storage> storages() {
        return storages;
    }

    /** Reads the whole pickle; the value that it builds. */
    Object read() throws IOException {
        try {
            for (int count = 0; count < MAX_INSTRUCTIONS && in.position() - start <= MAX_BYTES; count++) {
                at = in.position();
                int opcode = u1();
                if (opcode == '.') {
                    return pop();
                }
                execute(opcode);
            }
        } catch (BufferUnderflowException e) {
            throw bad("pickle must end with STOP, got the end of the data");
        }
        throw bad("pickle must have at most " + MAX_INSTRUCTIONS + " instructions and " + MAX_BYTES + " bytes");
    }

    private IOException bad(String message) {
        return new IOException(where + ": byte " + at + ": " + message);
    }

    private void execute(int opcode) throws IOException {
        switch (opcode) {
            case 0x80 -> protocol(u1()); // PROTO
            case 0x95 -> in.getLong(); // FRAME: a length that is of no use here
            case 'N' -> push(NONE);
            case 0x88 -> push(true); // NEWTRUE
            case 0x89 -> push(false); // NEWFALSE
            case 'K' -> push((long) u1()); // BININT1
            case 'M' -> push((long) u2()); // BININT2
            case 'J' -> push((long) in.getInt()); // BININT
            case 0x8a -> push(integer(u1())); // LONG1
            case 'G' -> push(bigEndianDouble()); // BINFLOAT
            case 'X' -> push(text(Integer.toUnsignedLong(in.getInt()))); // BINUNICODE
            case 0x8c -> push(text(u1())); // SHORT_BINUNICODE
            case '(' -> push(MARK);
            case ')' -> push(List.of()); // EMPTY_TUPLE
            case 0x85, 0x86, 0x87 -> tuple(opcode - 0x84); // TUPLE1 to TUPLE3
            case 't' -> push(Collections.unmodifiableList(popToMark())); // TUPLE
            case ']' -> push(new ArrayList<>()); // EMPTY_LIST
            case 'a' -> appendAll(List.of(pop())); // APPEND
            case 'e' -> appendAll(popToMark()); // APPENDS
            case '}' -> push(new LinkedHashMap<>()); // EMPTY_DICT
            case 's' -> setItem(); // SETITEM
            case 'u' -> putAll(popToMark()); // SETITEMS
            case 'q' -> memo.put(u1(), peek()); // BINPUT
            case 'r' -> memo.put(in.getInt(), peek()); // LONG_BINPUT
            case 0x94 -> memo.put(memo.size(), peek()); // MEMOIZE
            case 'h' -> recall(u1()); // BINGET
            case 'j' -> recall(in.getInt()); // LONG_BINGET
            case 'c' -> push(global(line() + " " + line())); // GLOBAL
            case 0x93 -> stackGlobal(); // STACK_GLOBAL
            case 'Q' -> push(storage(pop())); // BINPERSID
            case 'R' -> reduce(); // REDUCE
            case 0x81 -> newModule(); // NEWOBJ
            case 'b' -> build(); // BUILD
            default -> throw bad("instruction must be one of a checkpoint's, got " + PickleInstruction.name(opcode));
        }
    }

    private void protocol(int version) throws IOException {
        if (version > MAX_PROTOCOL) {
            throw bad("pickle protocol must be <= " + MAX_PROTOCOL + ", got " + version);
        }
    }

    private void push(Object value) {
        stack.add(value);
    }

    private Object pop() throws IOException {
        Object value = peek();
        stack.removeLast();
        return value;
    }

    private Object peek() throws IOException {
        if (stack.isEmpty() || stack.getLast() == MARK) {
            throw bad("instruction needs a value on the stack, got none");
        }
        return stack.getLast();
    }

    private List<Object> popToMark() throws IOException {
        int mark = stack.lastIndexOf(MARK);
        if (mark < 0) {
            throw bad("instruction needs a mark on the stack, got none");
        }
        List<Object> tail = stack.subList(mark, stack.size());
        List<Object> values = new ArrayList<>(tail.subList(1, tail.size()));
        tail.clear();
        return values;
    }

    private void tuple(int size) throws IOException {
        List<Object> values = new ArrayList<>();
        for (int i = 0; i < size; i++) {
            values.addFirst(pop());
        }
        push(Collections.unmodifiableList(values));
    }

    private void recall(int index) throws IOException {
        Object value = memo.get(index);
        if (value == null) {
            throw bad("memo must have an entry " + index + ", got none");
        }
        push(value);
    }

    private void appendAll(List<Object> values) throws IOException {
        if (!(peek() instanceof ArrayList<?>)) { // a tuple is none
            throw bad("APPEND needs a list, got " + type(peek()));
        }
        @SuppressWarnings("unchecked") // only lists of objects are made here
        List<Object> list = (List<Object>) peek();
        list.addAll(values);
    }

    private void setItem() throws IOException {
        Object value = pop();
        Object key = pop();
        putAll(List.of(key, value));
    }

    private void putAll(List<Object> keysAndValues) throws IOException {
        if (!(peek() instanceof LinkedHashMap<?, ?>)) { // a module is none
            throw bad("SETITEM needs a dict, got " + type(peek()));
        }
        Map<Object, Object> map = dict(peek());
        if (keysAndValues.size() % 2 != 0) {
            throw bad("SETITEMS needs keys and values, got " + keysAndValues.size() + " values");
        }
        for (int i = 0; i < keysAndValues.size(); i += 2) {
            Object key = keysAndValues.get(i);
            if (!(key instanceof String || key instanceof Long)) {
                throw bad("key must be a str or an int, got " + type(key));
            }
            map.put(key, keysAndValues.get(i + 1));
        }
    }

    @SuppressWarnings("unchecked") // only maps of objects are made here
    private static Map<Object, Object> dict(Object value) {
        return (Map<Object, Object>) value;
    }

    private Global global(String name) throws IOException {
        if (STORAGES.containsKey(name)) {
            return new StorageType(STORAGES.get(name));
        }
        if (name.startsWith("__torch__.") || name.startsWith("__torch__ ")) {
            return ModuleType.MODULE;
        }
        for (Function function : Function.values()) {
            if (function.name.equals(name)) {
                return function;
            }
        }
        throw bad("global must be one that tensors need, got " + Json.shorten(name.replace(' ', '.'))
                + "; nothing of the file was executed");
    }

    private void stackGlobal() throws IOException {
        if (!(pop() instanceof String name) || !(pop() instanceof String module)) {
            throw bad("STACK_GLOBAL needs two strings");
        }
        push(global(module + " " + name));
    }

    /** From ('storage', type, key, location, elements) and, in the older format, None. */
    private Storage storage(Object id) throws IOException {
        if (id instanceof List<?> parts
                && (parts.size() == 5 || parts.size() == 6 && parts.get(5) == NONE)
                && "storage".equals(parts.get(0))
                && parts.get(1) instanceof StorageType type
                && parts.get(2) instanceof String key
                && parts.get(4) instanceof Long elements
                && elements >= 0) {
            Storage storage = new Storage(key, type.dtype, elements);
            Storage known = storages.putIfAbsent(key, storage);
            if (known != null && !known.equals(storage)) {
                throw bad("storage " + Json.shorten(key) + " must have one type and size, got two");
            }
            return storage;
        }
        throw bad("persistent id must be that of a storage");
    }

    private void reduce() throws IOException {
        Object arguments = pop();
        Object function = pop();
        if (!(function instanceof Function called) || !(arguments instanceof List<?> list)) {
            throw bad("REDUCE needs a function and a tuple, got " + type(function) + " and " + type(arguments));
        }
        push(
                switch (called) {
                    case ORDERED_DICT -> orderedDict(list);
                    case SIZE -> argument(list, 0, List.class);
                    case TENSOR -> tensor(list);
                    case PARAMETER -> argument(list, 0, TensorView.class);
                });
    }

    private Map<Object, Object> orderedDict(List<?> arguments) throws IOException {
        if (!arguments.isEmpty()) {
            throw bad("OrderedDict must be called without arguments, got " + arguments.size());
        }
        return new LinkedHashMap<>();
    }

    /** The arguments are storage, offset, size, strides, and what matters for training only. */
    private TensorView tensor(List<?> arguments) throws IOException {
        long offset = argument(arguments, 1, Long.class);
        long[] shape = sizes(argument(arguments, 2, List.class));
        long[] strides = sizes(argument(arguments, 3, List.class));
        if (shape.length != strides.length || shape.length > MAX_DIMENSIONS) {
            throw bad("tensor must have as many sizes as strides, at most " + MAX_DIMENSIONS + ", got " + shape.length
                    + " and " + strides.length);
        }
        return new TensorView(argument(arguments, 0, Storage.class), offset, shape, strides);
    }

    private <T> T argument(List<?> arguments, int index, Class<T> type) throws IOException {
        if (index >= arguments.size() || !type.isInstance(arguments.get(index))) {
            throw bad("argument " + index + " of a tensor's function must be a " + type.getSimpleName() + ", got "
                    + (index < arguments.size() ? type(arguments.get(index)) : "nothing"));
        }
        return type.cast(arguments.get(index));
    }

    private long[] sizes(List<?> values) throws IOException {
        long[] sizes = new long[values.size()];
        for (int i = 0; i < sizes.length; i++) {
            sizes[i] = argument(values, i, Long.class);
        }
        return sizes;
    }

    private void newModule() throws IOException {
        if (!(pop() instanceof List<?> arguments) || !arguments.isEmpty() || pop() != ModuleType.MODULE) {
            throw bad("NEWOBJ needs the class of a TorchScript module and no arguments");
        }
        push(new Module());
    }

    /** Sets attributes; those of an OrderedDict, such as a state dict's {@code _metadata}, mean nothing here. */
    private void build() throws IOException {
        Object state = pop();
        if (peek() instanceof Module module && state instanceof LinkedHashMap<?, ?>) {
            module.attributes = dict(state);
            return;
        }
        if (!(peek() instanceof Map<?, ?>)) {
            throw bad("BUILD needs an OrderedDict, got " + type(peek()));
        }
    }

    private int u1() {
        return Byte.toUnsignedInt(in.get());
    }

    private int u2() {
        return Short.toUnsignedInt(in.getShort());
    }

    private double bigEndianDouble() {
        return Double.longBitsToDouble(Long.reverseBytes(in.getLong()));
    }

    /** A Long if it fits. */
    private Object integer(int size) {
        byte[] bytes = new byte[size + 1]; // big endian, with a zero where there is no byte at all
        for (int i = size; i > 0; i--) {
            bytes[i] = in.get();
        }
        bytes[0] = (byte) (size > 0 && bytes[1] < 0 ? -1 : 0);
        BigInteger value = new BigInteger(bytes);
        return value.bitLength() < Long.SIZE ? (Object) value.longValue() : value;
    }

    private String text(long size) throws IOException {
        if (size > MAX_STRING_BYTES) {
            throw bad("string must have <= " + MAX_STRING_BYTES + " bytes, got " + size);
        }
        if (size > in.remaining()) {
            throw new BufferUnderflowException();
        }
        byte[] bytes = new byte[(int) size];
        in.get(bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private String line() throws IOException {
        StringBuilder line = new StringBuilder();
        for (char c = (char) u1(); c != '\n'; c = (char) u1()) {
            if (line.length() == 200) {
                throw bad("name must have <= 200 bytes, got more");
            }
            line.append(c);
        }
        return line.toString();
    }

    private static String type(Object value) {
        return switch (value) {
            case String text -> "a str";
            case Long integer -> "an int";
            case Module module -> "a module";
            case Map<?, ?> map -> "a dict";
            case ArrayList<?> list -> "a list";
            case List<?> tuple -> "a tuple";
            case TensorView tensor -> "a tensor";
            case Storage storage -> "a storage";
            default -> value == NONE ? "None" : "a " + value.getClass().getSimpleName();
        };
    }
}
