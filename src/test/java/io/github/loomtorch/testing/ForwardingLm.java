package io.github.loomtorch.testing;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Chunk;
import java.util.List;

/** Another model seen through this one, to change a part of it. */
public abstract class ForwardingLm implements CausalLm {
    private final CausalLm lm;

    protected ForwardingLm(CausalLm lm) {
        this.lm = lm;
    }

    @Override
    public int vocabSize() {
        return lm.vocabSize();
    }

    @Override
    public String device() {
        return lm.device();
    }

    @Override
    public int contextLength() {
        return lm.contextLength();
    }

    @Override
    public int[] endOfTextIds() {
        return lm.endOfTextIds();
    }

    @Override
    public int maxBatchSize() {
        return lm.maxBatchSize();
    }

    @Override
    public int pageSize() {
        return lm.pageSize();
    }

    @Override
    public int pageCount() {
        return lm.pageCount();
    }

    @Override
    public boolean runsAhead() {
        return lm.runsAhead();
    }

    @Override
    public boolean deterministic() {
        return lm.deterministic();
    }

    @Override
    public int maxDecodeRows() {
        return lm.maxDecodeRows();
    }

    @Override
    public void wordStarts(boolean[] table) {
        lm.wordStarts(table);
    }

    @Override
    public void launch(List<Chunk> chunks) {
        lm.launch(chunks);
    }

    @Override
    public void await() {
        lm.await();
    }

    @Override
    public boolean isLost() {
        return lm.isLost();
    }

    @Override
    public void close() {
        lm.close();
    }
}
