package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class AttentionPlanTest {
    private static final int ROW_SIZE = StepInput.rowSize(64);
    /** GPT-2 in float16 on an H100. */
    private static final AttentionPlan H100 = new AttentionPlan(3, 396, 16, true);

    private record Item(int row, int part, int parts, int begin, int end) {
        int tokens() {
            return end - begin;
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 55, 64, 300, 512})
    void everyTokenButItsOwnOfEveryRowThatStandsAloneIsInOneItem(int rows) {
        Random random = new Random(rows);
        for (int blocks : new int[] {1, 7, 132, 396, 5000}) {
            for (int pieceTokens : new int[] {1, 8, 16}) {
                AttentionPlan plan = new AttentionPlan(1 + random.nextInt(12), blocks, pieceTokens, true);
                int[] lengths = random.ints(rows, 0, 1025)
                        .map(length -> random.nextInt(4) == 0 ? length : length / 10)
                        .toArray();
                boolean[] decode = new boolean[rows];
                for (int row = 0; row < rows; row++) {
                    decode[row] = random.nextInt(5) > 0;
                }
                List<Item> items = items(plan, lengths, decode);
                for (int row = 0; row < rows; row++) {
                    int number = row;
                    int first = IntStream.range(0, items.size())
                            .filter(i -> items.get(i).row == number)
                            .findFirst()
                            .orElse(-1);
                    assertEquals(decode[row], first >= 0, "row " + row);
                    int parts = decode[row] ? items.get(first).parts : 0;
                    int covered = 0;
                    for (int part = 0; part < parts; part++) {
                        Item item = items.get(first + part);
                        assertEquals(new Item(row, part, parts, covered, item.end), item);
                        assertEquals(0, item.begin % pieceTokens);
                        assertTrue(parts == 1 || item.tokens() > 0, item::toString);
                        covered = item.end;
                    }
                    assertEquals(decode[row] ? Math.max(lengths[row] - 1, 0) : 0, covered, "row " + row);
                    assertEquals(
                            parts,
                            items.stream().filter(item -> item.row == number).count());
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource({
        // rows, shortest, longest, most tokens of a block for each that it would have on average, in hundredths
        "256, 1, 1000, 115",
        "256, 300, 400, 110",
        "150, 1, 1000, 140",
        "128, 1, 1000, 140",
        "64, 900, 1024, 115",
        "64, 1, 1000, 150"
    })
    void blocksHaveAboutAsManyTokens(int rows, int shortest, int longest, int most) {
        for (int seed = 0; seed < 20; seed++) {
            int[] lengths = new Random(seed).ints(rows, shortest, longest + 1).toArray();
            double average =
                    (double) H100.unitsPerItem() * Arrays.stream(lengths).sum() / H100.blocks();
            assertTrue(
                    100 * mostTokensOfABlock(lengths) < most * average,
                    () -> mostTokensOfABlock(lengths) + " instead of " + average);
        }
    }

    /** No block has more than 256 tokens, the longest part. */
    @Test
    void longRowsAmongShortOnesAreDivided() {
        int[] lengths =
                IntStream.range(0, 64).map(row -> row % 8 == 0 ? 1000 : 100).toArray();
        assertEquals(256, mostTokensOfABlock(lengths));
    }

    @Test
    void rowsThatAllBlocksHaveAFairShareOfAreWhole() {
        int[] lengths = new int[256];
        Arrays.fill(lengths, 900);
        List<Item> items = items(H100, lengths, all(256));
        assertEquals(
                IntStream.range(0, 256)
                        .mapToObj(row -> new Item(row, 0, 1, 0, 899))
                        .toList(),
                items);
    }

    @Test
    void withoutDivisionARowsItemDependsOnNoOther() {
        AttentionPlan plan = new AttentionPlan(3, 396, 16, false);
        int[] lengths = {5, 1024, 0, 300};
        assertEquals(
                List.of(
                        new Item(1, 0, 1, 0, 1023),
                        new Item(3, 0, 1, 0, 299),
                        new Item(0, 0, 1, 0, 4),
                        new Item(2, 0, 1, 0, 0)),
                items(plan, lengths, all(4)));
        assertEquals(List.of(new Item(0, 0, 1, 0, 0), new Item(1, 0, 1, 0, 0)), items(plan, new int[] {1, 0}, all(2)));
    }

    @Test
    void upTo256TokensAreWhole() {
        assertEquals(
                List.of(new Item(0, 0, 1, 0, 256), new Item(1, 0, 2, 0, 128), new Item(1, 1, 2, 128, 257)),
                items(H100, new int[] {257, 258}, all(2)));
    }

    @Test
    void rowsOfPartsOfPromptsChangeNoShare() {
        int[] lengths = new Random(3).ints(200, 1, 1025).toArray();
        int[] besides = Arrays.copyOf(lengths, 1200); // with 1,000 rows of prefill chunks
        boolean[] decode = Arrays.copyOf(all(200), 1200);
        assertEquals(items(H100, lengths, all(200)), items(H100, besides, decode));
    }

    /** As {@code attention_persistent.cu} has the blocks take them. */
    private static int mostTokensOfABlock(int[] lengths) {
        List<Item> items = items(H100, lengths, all(lengths.length));
        int[] tokens = new int[H100.blocks()];
        for (int unit = 0; unit < items.size() * H100.unitsPerItem(); unit++) {
            int place = unit % H100.blocks();
            boolean back = unit / H100.blocks() % 2 == 1;
            tokens[back ? H100.blocks() - 1 - place : place] +=
                    items.get(unit / H100.unitsPerItem()).tokens();
        }
        return Arrays.stream(tokens).max().getAsInt();
    }

    private static boolean[] all(int rows) {
        boolean[] decode = new boolean[rows];
        Arrays.fill(decode, true);
        return decode;
    }

    /** The plan of rows of so many tokens; those that are not decode rows belong to prefill chunks. */
    private static List<Item> items(AttentionPlan plan, int[] lengths, boolean[] decode) {
        int rows = lengths.length;
        IntBuffer input = IntBuffer.allocate(rows * ROW_SIZE);
        for (int row = 0; row < rows; row++) {
            input.put(row * ROW_SIZE + StepInput.LENGTH, lengths[row]);
            input.put(row * ROW_SIZE + StepInput.CHUNK_TOKENS, !decode[row] ? 2 : lengths[row] == 0 ? 0 : 1);
        }
        IntBuffer buffer = IntBuffer.allocate(AttentionPlan.ITEM * plan.capacity(rows));
        plan.put(buffer, input, ROW_SIZE, rows);
        List<Item> items = new ArrayList<>();
        for (int i = 0; i < plan.capacity(rows); i++) {
            int at = AttentionPlan.ITEM * i;
            if (buffer.get(at) < 0) {
                items.add(null);
                continue;
            }
            assertTrue(!items.contains(null), "an item after the last");
            int parts = buffer.get(at + 1);
            items.add(new Item(buffer.get(at), parts & 0xffff, parts >> 16, buffer.get(at + 2), buffer.get(at + 3)));
        }
        items.removeAll(Collections.singleton(null));
        for (int i = 1; i < items.size(); i++) { // but for what a piece is not full
            assertTrue(
                    items.get(i).tokens() < items.get(i - 1).tokens() + 2 * plan.stageTokens(), items.get(i)::toString);
        }
        return items;
    }
}
