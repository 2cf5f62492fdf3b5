package consumer;

import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.SamplingParams;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;

/** Generates a few words with the embedded model. */
public final class Consumer {
    public static void main(String[] args) throws IOException {
        Path model = Files.createDirectory(Path.of("tales"));
        for (String file : new String[] {"config.json", "model.safetensors"}) {
            try (InputStream in = Consumer.class.getResourceAsStream("/io/github/loomtorch/models/tales/" + file)) {
                Files.copy(in, model.resolve(file));
            }
        }
        try (TextGenerator gpt2 = TextGenerator.load(model)) {
            Completion completion = gpt2.generate("Once upon a time", SamplingParams.greedy(20));
            System.out.println("Once upon a time" + completion.text());
            if (completion.outputTokenIds().length != 20) {
                throw new IllegalStateException("expected 20 tokens, got " + completion.outputTokenIds().length);
            }
        }
    }

    private Consumer() {}
}
