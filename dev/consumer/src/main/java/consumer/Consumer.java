package consumer;

import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.SamplingParams;
import java.io.IOException;

/** Generates a few words with the embedded model. */
public final class Consumer {
    public static void main(String[] args) throws IOException {
        try (TextGenerator gpt2 = TextGenerator.tales()) {
            Completion completion = gpt2.generate("Once upon a time", SamplingParams.greedy(20));
            System.out.println("Once upon a time" + completion.text());
            if (completion.outputTokenIds().length != 20) {
                throw new IllegalStateException("expected 20 tokens, got " + completion.outputTokenIds().length);
            }
        }
    }

    private Consumer() {}
}
