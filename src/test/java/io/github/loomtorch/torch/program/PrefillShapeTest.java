package io.github.loomtorch.torch.program;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import java.nio.IntBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class PrefillShapeTest {
    private static final int PAGE_SIZE = 8;

    private int starting;
    private int goingOn;

    @Test
    void theFirstRecordedShapeWithRoomWastesLittle() {
        List<PrefillShape> shapes = PrefillShape.recorded(List.of(640, 768, 896, 1024, 1280, 1536, 1792, 2048), 1024);
        assertEquals(12, shapes.size());
        for (int prompts = 1; prompts <= 16; prompts++) {
            for (int length = Math.ceilDiv(513, prompts); length <= Math.min(1024, 2048 / prompts); length++) {
                PrefillShape exact = PrefillShape.of(prompts, length);
                PrefillShape first = shapes.stream()
                        .filter(shape -> shape.hasRoomFor(exact))
                        .findFirst()
                        .orElseThrow();
                assertTrue(
                        first.tokens() >= exact.tokens() && 4 * first.tokens() <= 5 * exact.tokens(),
                        exact + " in " + first);
                assertTrue(first.longest() >= length, exact + " in " + first);
                assertEquals(prompts == 1 ? 1 : 16, first.sequences(), exact + " in " + first);
            }
        }
        for (PrefillShape tooLarge : List.of(
                PrefillShape.of(17, 100),
                PrefillShape.of(3, 700),
                PrefillShape.of(1, 1025),
                new PrefillShape(600, 1, 600, 616, 616, 1))) { // reads 16 tokens of before
            assertFalse(shapes.stream().anyMatch(shape -> shape.hasRoomFor(tooLarge)), tooLarge.toString());
        }
    }

    @Test
    void aSequenceIsNoLongerThanTheContext() {
        assertEquals(List.of(new PrefillShape(1000, 16, 100, 0, 100, 1000)), PrefillShape.recorded(List.of(1000), 100));
    }

    @Test
    void laysOutTheInputOfAPrefill() {
        Random random = new Random(4);
        FakeCausalLm lm =
                new FakeCausalLm(6, PAGE_SIZE, 96, 128).runningAhead(true).onLaunch(this::check);
        EngineOptions config = EngineOptions.builder()
                .maxPrefillTokensPerStep(90)
                .maxPrefillTokensBesideDecode(90)
                .build();
        int[] beginning = random.ints(30, 0, 99).toArray();
        try (NaiveScheduler scheduler = new NaiveScheduler(new Engine(lm, config), 6)) {
            for (int i = 0; i < 120; i++) {
                int[] prompt = random.ints(2 + random.nextInt(100), 0, 99).toArray();
                if (i % 5 == 0) { // begins as others do
                    System.arraycopy(beginning, 0, prompt, 0, Math.min(prompt.length, beginning.length));
                }
                SamplingParams sampling = SamplingParams.greedy(2);
                if (i % 3 == 0) {
                    PromptScoring scoring = PromptScoring.from(1 + random.nextInt(prompt.length - 1));
                    sampling = sampling.toBuilder().promptScoring(scoring).build();
                }
                scheduler.submit(new GenerationRequest(prompt, sampling));
            }
        }
        assertTrue(
                starting > 10 && goingOn > 10, starting + " prefills of starting sequences, " + goingOn + " of others");
    }

    private void check(List<Chunk> chunks) {
        List<Chunk> prefilling =
                chunks.stream().filter(chunk -> chunk.count() > 1).toList();
        if (prefilling.isEmpty()) {
            return;
        }
        PrefillShape exact = PrefillShape.of(prefilling);
        checkLayout(exact, prefilling);
        boolean starts = prefilling.stream().allMatch(chunk -> chunk.start() == 0);
        PrefillShape larger = new PrefillShape(
                exact.tokens() + 5,
                exact.sequences() + 3,
                exact.longest() + 5,
                0,
                exact.longest() + 5,
                exact.wanted() + 3);
        assertEquals(starts, larger.hasRoomFor(exact));
        if (starts) {
            starting++;
            checkLayout(larger, prefilling);
        } else {
            goingOn++;
        }
    }

    private static void checkLayout(PrefillShape shape, List<Chunk> chunks) {
        int[] ints = new int[shape.ints()];
        Arrays.fill(ints, -7);
        shape.put(IntBuffer.wrap(ints), chunks, PAGE_SIZE);
        int token = 0;
        int read = 0;
        int wanted = 0;
        assertEquals(0, ints[shape.newEndsAt()]);
        assertEquals(0, ints[shape.readEndsAt()]);
        for (int i = 0; i < chunks.size(); i++) {
            Chunk chunk = chunks.get(i);
            Sequence sequence = chunk.sequence();
            int end = chunk.start() + chunk.count();
            assertTrue(chunk.count() <= shape.longest() && end <= shape.longestRead());
            for (int position = 0; position < end; position++) {
                int row = sequence.page(position / PAGE_SIZE) * PAGE_SIZE + position % PAGE_SIZE;
                if (shape.readRows() > 0) {
                    assertEquals(row, ints[shape.readRowsAt() + read]);
                }
                read++;
                if (position >= chunk.start()) {
                    assertEquals(sequence.tokens()[position], ints[token]);
                    assertEquals(position, ints[shape.positionsAt() + token]);
                    assertEquals(row, ints[shape.writeRowsAt() + token++]);
                }
            }
            assertEquals(token, ints[shape.newEndsAt() + i + 1]);
            assertEquals(read, ints[shape.readEndsAt() + i + 1]);
            for (WantedPosition position : chunk.wantedPositions()) {
                assertEquals(token - end + position.position(), ints[shape.wantedAt() + wanted++]);
            }
        }
        for (int i = chunks.size(); i < shape.sequences(); i++) {
            assertEquals(token, ints[shape.newEndsAt() + i + 1]);
            assertEquals(read, ints[shape.readEndsAt() + i + 1]);
        }
        for (; token < shape.tokens(); token++) {
            assertEquals(0, ints[token]);
            assertEquals(0, ints[shape.positionsAt() + token]);
            assertEquals(-1, ints[shape.writeRowsAt() + token]);
        }
        assertEquals(shape.readRows() > 0 ? read : 0, shape.readRows());
        assertEquals(shape.ints(), shape.readRowsAt() + shape.readRows());
    }
}
