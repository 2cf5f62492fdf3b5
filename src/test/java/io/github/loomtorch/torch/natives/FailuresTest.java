package io.github.loomtorch.torch.natives;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;

import io.github.loomtorch.request.TorchException;
import org.junit.jupiter.api.Test;

class FailuresTest {
    @Test
    void theFirstLineSaysWhatIsWrong() {
        RuntimeException cause =
                new RuntimeException("mat1 and mat2 shapes cannot be multiplied\nException raised from addmm\n");
        TorchException e = Failures.explain("step", cause);
        assertEquals("step failed: mat1 and mat2 shapes cannot be multiplied", e.getMessage());
        assertSame(cause, e.getCause());
    }

    @Test
    void inATorchScriptProgramTheLineAfterTheTracebackDoes() {
        RuntimeException cause = new RuntimeException("""
                The following operation failed in the TorchScript interpreter.
                Traceback of TorchScript (most recent call last):
                  File "<string>", line 29, in head
                        return torch.stack([])
                               ~~~~~~~~~~~ <--- HERE
                RuntimeError: stack expects a non-empty TensorList
                """);
        assertEquals(
                "step failed: stack expects a non-empty TensorList",
                Failures.explain("step", cause).getMessage());
    }

    @Test
    void whereMemoryRanOutItSaysWhatToDo() {
        RuntimeException cause = new RuntimeException("CUDA out of memory. Tried to allocate 2.00 GiB\nmore");
        assertEquals(
                "step failed: CUDA out of memory. Tried to allocate 2.00 GiB; reduce maxBatchSize, the KV cache or the prompts, or take a"
                        + " smaller dtype",
                Failures.explain("step", cause).getMessage());
    }

    @Test
    void whatIsExplainedStaysAsItIs() {
        TorchException explained = new TorchException("CUDA is not available");
        assertSame(explained, Failures.explain("step", explained));
    }

    @Test
    void aFailureMayHaveNoMessage() {
        assertEquals(
                "step failed: null",
                Failures.explain("step", new RuntimeException()).getMessage());
    }

    @Test
    void theFirstLineOfAMessageIsTheFirstThatSaysAnything() {
        assertEquals("Unknown type", Failures.firstLine(new RuntimeException("\n  \nUnknown type\nat frame 1")));
        assertEquals("no reason given", Failures.firstLine(new RuntimeException("")));
    }
}
