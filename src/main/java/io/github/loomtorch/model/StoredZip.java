package io.github.loomtorch.model;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

/**
 * Finds the entries of a zip archive whose entries are stored, that is, not compressed, as PyTorch writes them: an
 * entry is then a piece of the file, which can be mapped. Archives with a compressed or encrypted entry are refused, so
 * that nothing has to be inflated. (java.util.zip does not tell where an entry's data begins.)
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
    private final Map<String, CheckpointTensor.Storage> entries = new HashMap<>();

    private StoredZip(Path file, FileChannel channel) throws IOException {
        this.file = file;
        this.channel = channel;
        this.fileBytes = channel.size();
    }

    /** The place of each entry's data, by the entry's name. */
    static Map<String, CheckpointTensor.Storage> read(Path file, FileChannel channel) throws IOException {
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
        if (encrypted || directory.getShort(at + 10) != 0) {
            throw new IOException(file + ": entry " + Json.shorten(name) + " must be stored, got "
                    + (encrypted ? "an encrypted" : "a compressed") + " one; torch.save does not compress");
        }
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
                || size != compressed
                || size < 0
                || begin > directoryStart
                || size > directoryStart - begin) {
            throw damaged("entry " + Json.shorten(name) + " of " + size + " bytes at " + begin
                    + " does not lie before the directory");
        }
        if (entries.put(name, new CheckpointTensor.Storage(file, begin, size)) != null) {
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
