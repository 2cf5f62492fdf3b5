package io.github.loomtorch.request;

import java.util.Optional;

/**
 * A token of a text that was scored, and where it stands. Bytes and characters are those of the text that the tokens
 * decode to: the text itself, unless its tokenizer normalizes. A token may hold a part of a character only; its
 * characters are then those that it has any byte of. Immutable.
 *
 * @param tokenId in {@code [0, V)}
 * @param score of the token; empty if it was not scored, as the first token of a window
 * @param byteStart of its first UTF-8 byte, from 0
 * @param byteEnd behind its last byte
 * @param charStart of its first character, a UTF-16 unit, from 0
 * @param charEnd behind its last character
 */
public record ScoredToken(
        int tokenId, Optional<PositionScore> score, int byteStart, int byteEnd, int charStart, int charEnd) {}
