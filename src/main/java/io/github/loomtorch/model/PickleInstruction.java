package io.github.loomtorch.model;

/** Names of a pickle's instructions, for messages. */
final class PickleInstruction {
    private PickleInstruction() {}

    /** The number and Python's name of an instruction that {@link Pickle} does not execute. */
    static String name(int opcode) {
        String name = switch (opcode) {
            case 'i' -> "INST";
            case 'o' -> "OBJ";
            case 0x81 -> "NEWOBJ";
            case 0x92 -> "NEWOBJ_EX";
            case 0x82, 0x83, 0x84 -> "EXT";
            case 'P' -> "PERSID";
            case 'I' -> "INT";
            case 'L' -> "LONG";
            case 0x8b -> "LONG4";
            case 'F' -> "FLOAT";
            case 'S', 'T', 'U' -> "STRING";
            case 'V', 0x8d -> "UNICODE";
            case 'B', 'C', 0x8e, 0x96 -> "BYTES";
            case 'p', 'g' -> "PUT or GET";
            case 'l' -> "LIST";
            case 'd' -> "DICT";
            case 0x8f, 0x90, 0x91 -> "SET";
            case '0', '1', '2' -> "POP or DUP";
            case 0x97, 0x98 -> "BUFFER";
            default -> "none of Python's";
        };
        return "0x%02x (%s)".formatted(opcode, name);
    }
}
