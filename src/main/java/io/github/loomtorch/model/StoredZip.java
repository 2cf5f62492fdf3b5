package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Finds the entries of a zip archive. PyTorch stores entries, that is, does not compress them: an entry is then a piece
 * of the file, which can be mapped. Compressed entries are found but cannot be read, so that nothing has to be
 * inflated. Archives with encrypted entries are refused. (java.util.zip does not tell where an entry's data begins.)
 */
final class StoredZip {
    /*
     * At the end of the file stands the end record, with the place of the directory. Where a number does not fit, it is all ones there,
     * and stands in the zip64 end record, whose place a locator before the end record gives. The directory has a record for each entry,
     * with the place of the entry's local header, after which its data begins.
     * [1] PKWARE, APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
     */

    private static final int END_SIGNATURE = 0x06054b50;
    private static final int END_BYTES = 22;
    private static final int MAX_COMMENT_BYTES = 65535;
    private static final int LOCATOR_SIGNATURE = 0x07064b50;
    private static final int LOCATOR_BYTES = 20;
    private static final int END64_SIGNATURE = 0x06064b50;
    private static final int END64_BYTES = 56;
    private static final int DIRECTORY_SIGNATURE = 0x02014b50;
    private static final int DIRECTORY_BYTES = 46;
    private static final int LOCAL_SIGNATURE = 0x04034b50;
    private static final int LOCAL_BYTES = 30;
    private static final int MAX_DIRECTORY_BYTES = 4 << 20;
    private static final int ZIP64_EXTRA = 1;
    private static final long ALL_ONES = 0xFFFFFFFFL;

    private final Path file;
    private final FileChannel channel;
    private final long fileBytes;
    private final Map<String, Entry> entries = new LinkedHashMap<>();
    private long entryBytes; // of all entries so far

    /**
     * One entry.
     *
     * @param data its bytes in the file, as they are there
     * @param crc CRC-32 of its bytes before compression
     */
    record Entry(String name, CheckpointTensor.Storage data, long crc, boolean compressed) {
        /**
         * Its bytes in the file.
         *
         * @throws IOException if they are compressed
         */
        CheckpointTensor.Storage stored() throws IOException {
            if (compressed) {
                throw new IOException(data.file() + ": entry " + Json.shorten(name)
                        + " must be stored, got a compressed one; torch.save does not compress");
            }
            return data;
        }
    }

    private StoredZip(Path file, FileChannel channel) throws IOException {
        this.file = file;
        this.channel = channel;
        this.fileBytes = channel.size();
    }

    /** The entries by their names, in the order of the directory. */
    static Map<String, Entry> read(Path file, FileChannel channel) throws IOException {
        StoredZip zip = new StoredZip(file, channel);
        zip.readDirectory();
        return zip.entries;
    }

    private IOException damaged(String what) {
        return new IOException(
                file + ": expected a zip archive, got one that is damaged: " + what + "; is the download complete?");
    }

    private ByteBuffer read(long position, int size, String what) throws IOException {
        if (position < 0 || position > fileBytes - size) {
            throw damaged(what + " at " + position + " is outside the file");
        }
        return ModelFiles.read(file, channel, position, size);
    }

    private void readDirectory() throws IOException {
        int tailBytes = (int) Math.min(fileBytes, END_BYTES + MAX_COMMENT_BYTES);
        long tailStart = fileBytes - tailBytes;
        ByteBuffer tail = read(tailStart, tailBytes, "end");
        int end = tailBytes - END_BYTES;
        while (end >= 0
                && (tail.getInt(end) != END_SIGNATURE
                        || end + END_BYTES + Short.toUnsignedInt(tail.getShort(end + 20)) != tailBytes)) {
            end--;
        }
        if (end < 0) {
            throw damaged("it has no directory");
        }
        long size = Integer.toUnsignedLong(tail.getInt(end + 12));
        long offset = Integer.toUnsignedLong(tail.getInt(end + 16));
        if (end >= LOCATOR_BYTES && tail.getInt(end - LOCATOR_BYTES) == LOCATOR_SIGNATURE) {
            ByteBuffer end64 = read(tail.getLong(end - LOCATOR_BYTES + 8), END64_BYTES, "zip64 end record");
            if (end64.getInt(0) != END64_SIGNATURE) {
                throw damaged("its locator leads to no zip64 end record");
            }
            size = end64.getLong(40);
            offset = end64.getLong(48);
        }
        if (size < 0 || size > MAX_DIRECTORY_BYTES) {
            throw damaged(
                    "its directory must have <= " + MAX_DIRECTORY_BYTES + " bytes, got " + Long.toUnsignedString(size));
        }
        ByteBuffer directory = read(offset, (int) size, "directory");
        while (directory.hasRemaining()) {
            readEntry(directory, offset);
        }
    }

    private void readEntry(ByteBuffer directory, long directoryStart) throws IOException {
        int at = directory.position();
        if (directory.remaining() < DIRECTORY_BYTES || directory.getInt(at) != DIRECTORY_SIGNATURE) {
            throw damaged("its directory has a bad record at " + at);
        }
        int nameBytes = Short.toUnsignedInt(directory.getShort(at + 28));
        int extraBytes = Short.toUnsignedInt(directory.getShort(at + 30));
        int commentBytes = Short.toUnsignedInt(directory.getShort(at + 32));
        if (DIRECTORY_BYTES + nameBytes + extraBytes + commentBytes > directory.remaining()) {
            throw damaged("its directory has a bad record at " + at);
        }
        String name = new String(directory.array(), at + DIRECTORY_BYTES, nameBytes, StandardCharsets.UTF_8);
        boolean encrypted = (directory.getShort(at + 8) & 1) != 0;
        long compressed = Integer.toUnsignedLong(directory.getInt(at + 20));
        long size = Integer.toUnsignedLong(directory.getInt(at + 24));
        long local = Integer.toUnsignedLong(directory.getInt(at + 42));
        if (encrypted) {
            throw new IOException(file + ": entry " + Json.shorten(name) + " must be stored, got an encrypted one");
        }
        boolean isCompressed = directory.getShort(at + 10) != 0;
        // The zip64 field has those of the three numbers that are all ones, in this order.
        ByteBuffer extra = directory.duplicate().order(directory.order());
        extra.position(at + DIRECTORY_BYTES + nameBytes);
        extra.limit(extra.position() + extraBytes);
        ByteBuffer zip64 = zip64(extra);
        if (size == ALL_ONES && zip64.remaining() >= Long.BYTES) {
            size = zip64.getLong();
        }
        if (compressed == ALL_ONES && zip64.remaining() >= Long.BYTES) {
            compressed = zip64.getLong();
        }
        if (local == ALL_ONES && zip64.remaining() >= Long.BYTES) {
            local = zip64.getLong();
        }
        ByteBuffer header = read(local, LOCAL_BYTES, "entry " + Json.shorten(name));
        long begin = local
                + LOCAL_BYTES
                + Short.toUnsignedInt(header.getShort(26))
                + Short.toUnsignedInt(header.getShort(28));
        if (header.getInt(0) != LOCAL_SIGNATURE
                || !isCompressed && size != compressed
                || compressed < 0
                || begin > directoryStart
                || compressed > directoryStart - begin) {
            throw damaged("entry " + Json.shorten(name) + " of " + compressed + " bytes at " + begin
                    + " does not lie before the directory");
        }
        entryBytes += compressed;
        if (entryBytes > fileBytes) {
            throw damaged("its entries overlap");
        }
        CheckpointTensor.Storage data = new CheckpointTensor.Storage(file, begin, compressed);
        long crc = Integer.toUnsignedLong(directory.getInt(at + 16));
        if (entries.put(name, new Entry(name, data, crc, isCompressed)) != null) {
            throw damaged("it has two entries " + Json.shorten(name));
        }
        directory.position(at + DIRECTORY_BYTES + nameBytes + extraBytes + commentBytes);
    }

    private static ByteBuffer zip64(ByteBuffer extra) {
        while (extra.remaining() >= 4) {
            int id = Short.toUnsignedInt(extra.getShort());
            int size = Math.min(Short.toUnsignedInt(extra.getShort()), extra.remaining());
            if (id == ZIP64_EXTRA) {
                return extra.limit(extra.position() + size);
            }
            extra.position(extra.position() + size);
        }
        return extra.limit(extra.position());
    }
}
