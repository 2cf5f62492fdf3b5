package io.github.loomtorch.torch.natives;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.PointerScope;
import org.junit.jupiter.api.Test;

class ResourcesTest {
    private final Resources resources = new Resources();

    @Test
    void freesTheLastFirstAndOnce() {
        List<String> freed = new ArrayList<>();
        resources.onClose(() -> freed.add("first"));
        resources.onClose(() -> freed.add("second"));

        resources.close();
        resources.close();

        assertEquals(List.of("second", "first"), freed);
    }

    @Test
    void whatIsKeptOutlivesItsScope() {
        IntPointer kept;
        IntPointer other;
        try (PointerScope scope = new PointerScope()) {
            kept = resources.keep(new IntPointer(1));
            other = new IntPointer(1);
        }

        assertTrue(other.isNull());
        assertFalse(kept.isNull());

        resources.close();

        assertTrue(kept.isNull());
    }
}
