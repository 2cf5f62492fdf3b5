package io.github.loomtorch.model;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;

/**
 * Writes a {@link TorchScriptArchive} that libtorch and Python's {@code torch.jit.load} load. Tensors are written one
 * after the other, so that no two need to be in memory at once. Not thread-safe.
 */
public final class TorchScriptWriter {
    private static final String FOLDER = "model/";
    private static final String OPERATOR_VERSION = "10\n"; // libtorch's own since 1.12
    private static final byte[] NO_CONSTANTS = {(byte) 0x80, 2, ')', '.'}; // an empty tuple

    private final StoredZipWriter zip;
    private final ModulePickle pickle = new ModulePickle(TorchScriptArchive.CLASS);
    private int tensors;

    /**
     * A writer to an empty file.
     *
     * @param output takes the archive
     */
    public TorchScriptWriter(TemporaryFile.Output output) {
        zip = new StoredZipWriter(output);
    }

    /**
     * Writes one attribute of the module.
     *
     * @param name an identifier, used once
     * @param dtype F32, F16 or BF16
     * @param shape sizes of the dimensions, outermost first
     * @param data all elements, row-major, little endian; each buffer is read from its position to its limit
     * @throws IOException if the file cannot be written
     */
    public void tensor(String name, DType dtype, long[] shape, Iterable<ByteBuffer> data) throws IOException {
        String key = Integer.toString(tensors++);
        pickle.tensor(name, dtype, shape, key);
        zip.begin(FOLDER + "data/" + key);
        for (ByteBuffer piece : data) {
            zip.write(piece);
        }
        zip.end();
    }

    /**
     * Writes the rest, after the last tensor.
     *
     * @param program source text of the class {@code Gpt2}, as the archive holds it
     * @throws IOException if the file cannot be written
     */
    public void finish(String program) throws IOException {
        entry(TorchScriptArchive.PICKLE, pickle.finish());
        entry(TorchScriptArchive.PROGRAM, program.getBytes(StandardCharsets.UTF_8));
        entry("constants.pkl", NO_CONSTANTS);
        entry("byteorder", "little".getBytes(StandardCharsets.UTF_8));
        entry(".data/version", OPERATOR_VERSION.getBytes(StandardCharsets.UTF_8));
        zip.finish();
    }

    private void entry(String name, byte[] content) throws IOException {
        zip.begin(FOLDER + name);
        zip.write(ByteBuffer.wrap(content));
        zip.end();
    }

    /** Pickles an object of a TorchScript class whose attributes are tensors, in protocol 2. */
    private static final class ModulePickle {
        private final ByteArrayOutputStream out = new ByteArrayOutputStream();

        ModulePickle(String className) {
            opcode(0x80).opcode(2); // PROTO
            global("__torch__", className);
            opcode(')').opcode(0x81); // EMPTY_TUPLE, NEWOBJ
            opcode('}').opcode('('); // EMPTY_DICT, MARK
        }

        /** An attribute: torch._utils._rebuild_tensor_v2(storage, offset, size, strides, requires_grad, hooks). */
        void tensor(String name, DType dtype, long[] shape, String key) {
            long elements = 1;
            long[] strides = new long[shape.length];
            for (int i = shape.length - 1; i >= 0; i--) {
                strides[i] = elements;
                elements *= shape[i];
            }
            text(name);
            global("torch._utils", "_rebuild_tensor_v2");
            opcode('(').opcode('(');
            text("storage");
            global("torch", storageType(dtype));
            text(key);
            text("cpu");
            integer(elements);
            opcode('t').opcode('Q'); // TUPLE, BINPERSID
            integer(0);
            tuple(shape);
            tuple(strides);
            opcode(0x89); // NEWFALSE
            global("collections", "OrderedDict");
            opcode(')').opcode('R'); // EMPTY_TUPLE, REDUCE
            opcode('t').opcode('R');
        }

        byte[] finish() {
            opcode('u').opcode('b').opcode('.'); // SETITEMS, BUILD, STOP
            return out.toByteArray();
        }

        private static String storageType(DType dtype) {
            return switch (dtype) {
                case F32 -> "FloatStorage";
                case F16 -> "HalfStorage";
                case BF16 -> "BFloat16Storage";
                default -> throw new IllegalArgumentException("dtype must be F32, F16 or BF16, got " + dtype);
            };
        }

        private ModulePickle opcode(int opcode) {
            out.write(opcode);
            return this;
        }

        private void global(String module, String name) {
            opcode('c');
            out.writeBytes((module + "\n" + name + "\n").getBytes(StandardCharsets.UTF_8));
        }

        private void text(String text) {
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            opcode('X'); // BINUNICODE
            little(bytes.length, Integer.BYTES);
            out.writeBytes(bytes);
        }

        private void integer(long value) {
            if (value == (int) value) {
                opcode('J'); // BININT
                little(value, Integer.BYTES);
            } else {
                opcode(0x8a).opcode(Long.BYTES); // LONG1
                little(value, Long.BYTES);
            }
        }

        private void tuple(long[] values) {
            opcode('(');
            for (long value : values) {
                integer(value);
            }
            opcode('t');
        }

        private void little(long value, int bytes) {
            for (int i = 0; i < bytes; i++) {
                opcode((int) (value >>> 8 * i) & 0xff);
            }
        }
    }

    /**
     * A zip archive whose entries are stored, at multiples of 64 bytes, as libtorch has them. Sizes and offsets have 64
     * bits (zip64), so that a file can have any size. What cannot be known before an entry's data is put into its
     * header afterwards. (java.util.zip needs an entry's CRC-32 before its data, and does not align.)
     */
    private static final class StoredZipWriter {
        /*
         * [1] PKWARE, APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
         */
        private static final int ALIGNMENT = 64;
        private static final int LOCAL_BYTES = 30;
        private static final int ZIP64_BYTES = 20; // of the extra field: id, size, two numbers of 64 bits
        private static final int PADDING_ID = 0x4246; // libtorch's
        private static final int VERSION = 45; // the first with zip64
        private static final int UTF8 = 1 << 11;
        private static final int DATE =
                (1 << 5) | 1; // 1980-01-01, the format's first: the same input gives the same file

        private final TemporaryFile.Output output;
        private final ByteArrayOutputStream directory = new ByteArrayOutputStream();
        private int entries;
        private long at; // end of what was written
        private byte[] name = {};
        private long header; // where the current entry's begins
        private long begin; // where its data begins
        private CRC32 crc = new CRC32();

        StoredZipWriter(TemporaryFile.Output output) {
            this.output = output;
        }

        void begin(String entry) throws IOException {
            name = entry.getBytes(StandardCharsets.UTF_8);
            header = at;
            crc = new CRC32();
            long unaligned = header + LOCAL_BYTES + name.length + ZIP64_BYTES + 4;
            begin = Math.ceilDiv(unaligned, (long) ALIGNMENT) * ALIGNMENT;
            at = begin;
        }

        void write(ByteBuffer data) throws IOException {
            crc.update(data.duplicate());
            int size = data.remaining();
            output.write(data, at);
            at += size;
        }

        void end() throws IOException {
            long size = at - begin;
            int extraBytes = (int) (begin - header) - LOCAL_BYTES - name.length;
            ByteBuffer local = little((int) (begin - header));
            local.putInt(0x04034b50).putShort((short) VERSION);
            putCommon(local);
            local.putInt(-1).putInt(-1); // sizes: see zip64
            local.putShort((short) name.length).putShort((short) extraBytes).put(name);
            putZip64(local, 16).putLong(size).putLong(size);
            local.putShort((short) PADDING_ID).putShort((short) (extraBytes - ZIP64_BYTES - 4));
            output.write(local.clear(), header);

            ByteBuffer central = little(46 + name.length + 28);
            central.putInt(0x02014b50).putShort((short) VERSION).putShort((short) VERSION);
            putCommon(central);
            central.putInt(-1).putInt(-1);
            central.putShort((short) name.length).putShort((short) 28).putShort((short) 0); // no comment
            central.putShort((short) 0).putShort((short) 0).putInt(0).putInt(-1); // disk, attributes, offset: see zip64
            central.put(name);
            putZip64(central, 24).putLong(size).putLong(size).putLong(header);
            directory.writeBytes(central.array());
            entries++;
        }

        /** Flags, method, time, date and CRC-32, which both headers have in this order. */
        private void putCommon(ByteBuffer buffer) {
            buffer.putShort((short) UTF8)
                    .putShort((short) 0)
                    .putShort((short) 0)
                    .putShort((short) DATE);
            buffer.putInt((int) crc.getValue());
        }

        private static ByteBuffer putZip64(ByteBuffer buffer, int bytes) {
            return buffer.putShort((short) 1).putShort((short) bytes);
        }

        void finish() throws IOException {
            long size = directory.size();
            ByteBuffer end = little(56 + 20 + 22);
            end.putInt(0x06064b50).putLong(44).putShort((short) VERSION).putShort((short) VERSION);
            end.putInt(0)
                    .putInt(0)
                    .putLong(entries)
                    .putLong(entries)
                    .putLong(size)
                    .putLong(at);
            end.putInt(0x07064b50).putInt(0).putLong(at + size).putInt(1);
            end.putInt(0x06054b50).putShort((short) 0).putShort((short) 0);
            end.putShort((short) entries)
                    .putShort((short) entries)
                    .putInt((int) size)
                    .putInt(-1)
                    .putShort((short) 0);
            output.write(ByteBuffer.wrap(directory.toByteArray()), at);
            output.write(end.clear(), at + size);
        }

        private static ByteBuffer little(int bytes) {
            return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
        }
    }
}
