/*
 * The layout of a step's input and results, which StepInput.java and ResultRow.java define. A row of the input,
 * ROW_SIZE ints, is one token: a sequence's newest, or one of several new ones, which then are in neighbouring rows.
 * Rows of length 0 are padding.
 */
#pragma once
#if !defined(LT_ROW_SIZE) || !defined(LT_ROW_TOKEN) || !defined(LT_ROW_LENGTH) || !defined(LT_ROW_CHUNK_TOKENS) || \
        !defined(LT_ROW_SLOT) || !defined(LT_ROW_FIRST) || !defined(LT_ROW_PAGES)
#error "step_row.cuh needs -DLT_ROW_SIZE and -DLT_ROW_<field>: see KernelFile.java"
#endif
constexpr int ROW_SIZE = LT_ROW_SIZE;
constexpr int ROW_TOKEN = LT_ROW_TOKEN;               // id, or -1: the token sampled last for the same slot
constexpr int ROW_LENGTH = LT_ROW_LENGTH;             // tokens to attend to, this one included
constexpr int ROW_CHUNK_TOKENS = LT_ROW_CHUNK_TOKENS; // the sequence's new tokens in this step
constexpr int ROW_SLOT = LT_ROW_SLOT;
constexpr int ROW_FIRST = LT_ROW_FIRST; // position of the sequence's first new token: as many are in the cache
constexpr int ROW_PAGES = LT_ROW_PAGES; // the sequence's page numbers begin here
static_assert(
        ROW_SIZE > ROW_PAGES && ROW_SIZE % 4 == 0, "a row holds at least one page number and is copied by 16 bytes");
