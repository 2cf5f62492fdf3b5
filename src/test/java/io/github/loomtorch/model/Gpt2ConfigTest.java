package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.testing.RandomCheckpoint;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class Gpt2ConfigTest {
    @TempDir
    Path dir;

    @ParameterizedTest
    @CsvSource({
        "gpt2, 124439808",
        "gpt2-medium, 354823168",
        "gpt2-large, 774030080",
        "gpt2-xl, 1557611200",
        "distilgpt2, 81912576",
    })
    void countsTheParametersOfThePublishedModels(String name, long parameters) {
        assertEquals(parameters, Gpt2Config.shape(name).parameterCount());
    }

    @Test
    void refusesAnUnknownShape() {
        IllegalArgumentException e = assertThrows(IllegalArgumentException.class, () -> Gpt2Config.shape("gpt3"));
        assertEquals("name must be gpt2, gpt2-medium, gpt2-large, gpt2-xl or distilgpt2, got \"gpt3\"", e.getMessage());
    }

    @Test
    void absentKeysMeanGpt2() throws IOException {
        assertEquals(Gpt2Config.shape("gpt2"), read("{\"model_type\":\"gpt2\"}"));
        assertEquals(64, Gpt2Config.shape("gpt2").headSize());
    }

    @Test
    void readsEveryKeyAndIgnoresTheOthers() throws IOException {
        Gpt2Config config =
                new Gpt2Config(101, 64, 48, 3, 4, 100, Activation.RELU, 1e-6, false, true, false, List.of(7));
        assertEquals(config, read("""
                        {"model_type": "gpt2", "vocab_size": 101, "n_positions": 64, "n_ctx": 32, "n_embd": 48, "n_layer": 3, "n_head": 4,
                         "n_inner": 100, "activation_function": "relu", "layer_norm_epsilon": 1e-6, "scale_attn_weights": false,
                         "scale_attn_by_inverse_layer_idx": true, "reorder_and_upcast_attn": true, "tie_word_embeddings": false,
                         "eos_token_id": 7, "bos_token_id": 7, "attn_pdrop": 0.1, "add_cross_attention": false,
                         "task_specific_params": {"text-generation": {"do_sample": true}}, "transformers_version": "4.57.1"}"""));
        RandomCheckpoint.writeConfig(dir.resolve("config.json"), config);
        assertEquals(config, Gpt2Config.read(dir.resolve("config.json")));
    }

    @ParameterizedTest
    @CsvSource({"gelu_new, GELU_TANH", "gelu_pytorch_tanh, GELU_TANH", "gelu, GELU, ", "relu, RELU"})
    void readsTheActivation(String name, Activation activation) throws IOException {
        assertEquals(
                activation,
                read("{\"model_type\":\"gpt2\",\"activation_function\":\"" + name + "\"}")
                        .activation());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {"7 | [7]", "[9, 8, 9] | [8, 9]", "[] | []", "null | []", "100 | []", "-1 | []", "[100, 8] | [8]"})
    void readsTheEndOfTextIds(String json, String ids) throws IOException {
        assertEquals(
                ids,
                read("{\"model_type\":\"gpt2\",\"vocab_size\":100,\"eos_token_id\":" + json + "}")
                        .endOfTextIds()
                        .toString());
    }

    @Test
    void aSmallVocabularyHasNoEndOfTextByDefault() throws IOException {
        assertEquals(
                List.of(), read("{\"model_type\":\"gpt2\",\"vocab_size\":100}").endOfTextIds());
    }

    @Test
    void readsTheFilesOf2019() throws IOException {
        assertEquals(
                512,
                read("{\"n_ctx\": 512, \"n_embd\": 768, \"n_inner\": null}").contextLength());
        assertEquals(12, read("{\"architectures\": [\"GPT2LMHeadModel\"]}").headCount());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{} | model_type must be \"gpt2\", got nothing",
                "{\"architectures\":[\"LlamaForCausalLM\"],\"n_embd\":8} | model_type must be \"gpt2\", got nothing",
                "{\"model_type\":\"llama\"} | model_type must be \"gpt2\", got \"llama\"",
                "{\"model_type\":7} | model_type must be a string, got 7",
                "{\"model_type\":\"gpt2\",\"add_cross_attention\":true} | add_cross_attention must be false, got true",
                "{\"model_type\":\"gpt2\",\"activation_function\":\"silu\"} | activation_function must be gelu_new, gelu_pytorch_tanh, gelu"
                        + " or relu, got \"silu\"",
                "{\"model_type\":\"gpt2\",\"n_embd\":\"768\"} | n_embd must be a 32-bit integer, got \"768\"",
                "{\"model_type\":\"gpt2\",\"n_embd\":null} | n_embd must be a 32-bit integer, got null",
                "{\"model_type\":\"gpt2\",\"n_layer\":1.5} | n_layer must be a 32-bit integer, got 1.5",
                "{\"model_type\":\"gpt2\",\"n_layer\":3000000000} | n_layer must be a 32-bit integer, got 3000000000",
                "{\"model_type\":\"gpt2\",\"layer_norm_epsilon\":\"1e-5\"} | layer_norm_epsilon must be a number, got \"1e-5\"",
                "{\"model_type\":\"gpt2\",\"tie_word_embeddings\":1} | tie_word_embeddings must be true or false, got 1",
                "{\"model_type\":\"gpt2\",\"eos_token_id\":\"x\"} | eos_token_id must be an integer, an array of integers or null, got \"x\"",
                "{\"model_type\":\"gpt2\",\"n_head\":5} | hiddenSize (n_embd) must be a multiple of headCount (n_head), got 768 and 5",
                "{\"model_type\":\"gpt2\",\"n_layer\":0} | layerCount (n_layer) must be >= 1, got 0",
            })
    void refusesABadFile(String json, String message) {
        IOException e = assertThrows(IOException.class, () -> read(json));
        assertEquals(dir.resolve("config.json") + ": " + message, e.getMessage());
    }

    @Test
    void refusesWhatIsNotJson() {
        IOException e = assertThrows(IOException.class, () -> read("{\n\"n_embd\": }"));
        assertEquals(
                dir.resolve("config.json")
                        + ": expected a JSON object, got bad JSON in line 2: Unexpected character ('}' (code 125)):"
                        + " expected a value",
                e.getMessage());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "0 | 8 | 8 | 1 | 2 | 8 | 1e-5 | 1 | vocabSize (vocab_size) must be >= 1, got 0",
                "9 | 0 | 8 | 1 | 2 | 8 | 1e-5 | 1 | contextLength (n_positions) must be >= 1, got 0",
                "9 | 8 | -8 | 1 | 2 | 8 | 1e-5 | 1 | hiddenSize (n_embd) must be >= 1, got -8",
                "9 | 8 | 8 | 0 | 2 | 8 | 1e-5 | 1 | layerCount (n_layer) must be >= 1, got 0",
                "9 | 8 | 8 | 1 | 0 | 8 | 1e-5 | 1 | headCount (n_head) must be >= 1, got 0",
                "9 | 8 | 8 | 1 | 2 | 0 | 1e-5 | 1 | innerSize (n_inner) must be >= 1, got 0",
                "9 | 8 | 8 | 1 | 3 | 8 | 1e-5 | 1 | hiddenSize (n_embd) must be a multiple of headCount (n_head), got 8 and 3",
                "9 | 8 | 8 | 1 | 2 | 8 | 0 | 1 | layerNormEpsilon (layer_norm_epsilon) must be > 0 and finite, got 0.0",
                "9 | 8 | 8 | 1 | 2 | 8 | NaN | 1 | layerNormEpsilon (layer_norm_epsilon) must be > 0 and finite, got NaN",
                "9 | 8 | 8 | 1 | 2 | 8 | 1e-5 | 9 | endOfTextIds (eos_token_id) must be ascending ids in [0, 9), got [9]",
                "9 | 8 | 8 | 1 | 2 | 8 | 1e-5 | -2 | endOfTextIds (eos_token_id) must be ascending ids in [0, 9), got [-2]",
            })
    void refusesABadValue(int v, int p, int c, int l, int h, int f, double epsilon, int eos, String message) {
        IllegalArgumentException e = assertThrows(
                IllegalArgumentException.class,
                () -> new Gpt2Config(v, p, c, l, h, f, Activation.GELU, epsilon, true, false, true, List.of(eos)));
        assertEquals(message, e.getMessage());
    }

    private Gpt2Config read(String json) throws IOException {
        return Gpt2Config.read(Files.writeString(dir.resolve("config.json"), json));
    }
}
