package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class Gpt2ConfigTest {
    private static final String SIZES =
            "\"eos_token_id\":3,\"vocab_size\":100,\"n_positions\":8,\"n_embd\":12,\"n_layer\":1,\"n_head\":2";

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
    void absentAndNullKeysMeanGpt2ButForTheSizes() throws IOException {
        Gpt2Config expected =
                new Gpt2Config(60000, 8, 12, 1, 2, 48, Activation.GELU_TANH, 1e-5, true, false, true, List.of(50256));
        String sizes = "\"vocab_size\":60000,\"n_positions\":8,\"n_embd\":12,\"n_layer\":1,\"n_head\":2";
        assertEquals(expected, read("{\"model_type\":\"gpt2\"," + sizes + "}"));
        assertEquals(
                expected,
                read("{\"model_type\":\"gpt2\"," + sizes
                        + ",\"n_ctx\":null,\"n_inner\":null,\"activation_function\":null,\"layer_norm_epsilon\":null,"
                        + "\"scale_attn_weights\":null,\"scale_attn_by_inverse_layer_idx\":null,\"add_cross_attention\":null,"
                        + "\"tie_word_embeddings\":null,\"hidden_size\":null}"));
        assertEquals(64, Gpt2Config.shape("gpt2").headSize());
    }

    @ParameterizedTest
    @ValueSource(strings = {"vocab_size", "n_positions", "n_embd", "n_layer", "n_head"})
    void sizesAreRequired(String key) {
        for (String value : new String[] {"", "null"}) {
            String field = value.isEmpty() ? "" : ",\"" + key + "\":null";
            String json = ("{\"model_type\":\"gpt2\"," + SIZES + "}").replaceFirst(",\"" + key + "\":\\d+", field);
            IOException e = assertThrows(IOException.class, () -> read(json));
            assertEquals(
                    dir.resolve("config.json") + ": " + key + " must be a 32-bit integer, got "
                            + (value.isEmpty() ? "nothing" : value),
                    e.getMessage());
        }
    }

    @Test
    void readsTheAliasesWhichComeFirst() throws IOException {
        Gpt2Config config =
                read("{\"model_type\":\"gpt2\",\"vocab_size\":100,\"max_position_embeddings\":8,\"hidden_size\":12,"
                        + "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"n_head\":3,\"eos_token_id\":3}");
        assertEquals(read("{\"model_type\":\"gpt2\"," + SIZES + "}"), config);
    }

    @Test
    void readsPythonsJson() throws IOException {
        Gpt2Config config = read("{\"model_type\":\"gpt2\"," + SIZES
                + ",\"a\":NaN,\"b\":Infinity,\"c\":[-Infinity],\"n_head\":5,\"n_head\":4}");
        assertEquals(4, config.headCount());
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
        config.write(dir.resolve("config.json"));
        assertEquals(config, Gpt2Config.read(dir.resolve("config.json")));
    }

    @ParameterizedTest
    @CsvSource({
        "gelu_new, GELU_TANH",
        "gelu_fast, GELU_TANH",
        "gelu_accurate, GELU_TANH",
        "gelu_pytorch_tanh, GELU_TANH",
        "gelu_python_tanh, GELU_TANH",
        "gelu, GELU",
        "gelu_python, GELU",
        "relu, RELU",
        "quick_gelu, QUICK_GELU",
        "silu, SILU",
        "swish, SILU",
        "tanh, TANH"
    })
    void readsTheActivation(String name, Activation activation) throws IOException {
        assertEquals(
                activation,
                read("{\"model_type\":\"gpt2\"," + SIZES + ",\"activation_function\":\"" + name + "\"}")
                        .activation());
    }

    @ParameterizedTest
    @EnumSource
    void theNameOfAnActivationFindsIt(Activation activation) {
        assertEquals(activation, Activation.of(activation.configName()));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {"7 | [7]", "[9, 8, 9] | [8, 9]", "[] | []", "null | []", "100 | []", "-1 | []", "[100, 8] | [8]"})
    void readsTheEndOfTextIds(String json, String ids) throws IOException {
        assertEquals(
                ids,
                read("{\"model_type\":\"gpt2\"," + SIZES + ",\"eos_token_id\":" + json + "}")
                        .endOfTextIds()
                        .toString());
    }

    @Test
    void aSmallVocabularyHasNoEndOfTextByDefault() throws IOException {
        String sizes = SIZES.replace("\"eos_token_id\":3,", "");
        assertEquals(List.of(), read("{\"model_type\":\"gpt2\"," + sizes + "}").endOfTextIds());
    }

    @Test
    void readsTheFilesOf2019() throws IOException {
        assertEquals(
                512,
                read("{\"n_ctx\": 512, \"vocab_size\": 9, \"n_embd\": 768, \"n_layer\": 1, \"n_head\": 12, \"n_inner\": null}")
                        .contextLength());
        assertEquals(
                2,
                read("{\"architectures\": [\"GPT2LMHeadModel\"]," + SIZES + "}").headCount());
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
                "{\"model_type\":\"gpt2\",SIZES,\"activation_function\":\"gelu_10\"} | activation_function must be one of [gelu, gelu_accurate,"
                        + " gelu_fast, gelu_new, gelu_python, gelu_python_tanh, gelu_pytorch_tanh, quick_gelu, relu, silu, swish, tanh], got \"gelu_10\"",
                "{\"model_type\":\"gpt2\",SIZES,\"n_embd\":\"768\"} | n_embd must be a 32-bit integer, got \"768\"",
                "{\"model_type\":\"gpt2\",SIZES,\"n_embd\":NaN} | n_embd must be a 32-bit integer, got \"NaN\"",
                "{\"model_type\":\"gpt2\",SIZES,\"n_layer\":1.5} | n_layer must be a 32-bit integer, got 1.5",
                "{\"model_type\":\"gpt2\",SIZES,\"n_layer\":2147483648} | n_layer must be a 32-bit integer, got 2147483648",
                "{\"model_type\":\"gpt2\",SIZES,\"layer_norm_epsilon\":\"1e-5\"} | layer_norm_epsilon must be a number, got \"1e-5\"",
                "{\"model_type\":\"gpt2\",SIZES,\"tie_word_embeddings\":1} | tie_word_embeddings must be true or false, got 1",
                "{\"model_type\":\"gpt2\",SIZES,\"eos_token_id\":\"x\"} | eos_token_id must be an integer, an array of integers or null, got \"x\"",
                "{\"model_type\":\"gpt2\",SIZES,\"n_head\":5} | hiddenSize (n_embd) must be a multiple of headCount (n_head), got 12 and 5",
                "{\"model_type\":\"gpt2\",SIZES,\"n_layer\":0} | layerCount (n_layer) must be in [1, 1024], got 0",
            })
    void refusesABadFile(String json, String message) {
        IOException e = assertThrows(IOException.class, () -> read(json.replace("SIZES", SIZES)));
        assertEquals(dir.resolve("config.json") + ": " + message, e.getMessage());
    }

    @Test
    void refusesWhatIsNotText() throws IOException {
        Path file = Files.write(dir.resolve("config.json"), new byte[] {'{', 0, 0, 0, 'x'});
        String message =
                assertThrows(IOException.class, () -> Gpt2Config.read(file)).getMessage();
        assertTrue(message.startsWith(file + ": expected a JSON object, got bad JSON: "), message);
    }

    @Test
    void refusesWhatIsNotJson() {
        IOException e = assertThrows(IOException.class, () -> read("{\n\"n_embd\": }"));
        assertEquals(
                dir.resolve("config.json")
                        + " line 2 column 11: expected a JSON object, got bad JSON: Unexpected character ('}' (code 125)):"
                        + " expected a value",
                e.getMessage());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "0 | 8 | 8 | 1 | 2 | 8 | 1e-5 | 1 | vocabSize (vocab_size) must be in [1, 16777216], got 0",
                "9 | 2097152 | 8 | 1 | 2 | 8 | 1e-5 | 1 | contextLength (n_positions) must be in [1, 1048576], got 2097152",
                "9 | 8 | 8 | 2147483647 | 2 | 8 | 1e-5 | 1 | layerCount (n_layer) must be in [1, 1024], got 2147483647",
                "9 | 0 | 8 | 1 | 2 | 8 | 1e-5 | 1 | contextLength (n_positions) must be in [1, 1048576], got 0",
                "9 | 8 | -8 | 1 | 2 | 8 | 1e-5 | 1 | hiddenSize (n_embd) must be in [1, 65536], got -8",
                "9 | 8 | 8 | 0 | 2 | 8 | 1e-5 | 1 | layerCount (n_layer) must be in [1, 1024], got 0",
                "9 | 8 | 8 | 1 | 0 | 8 | 1e-5 | 1 | headCount (n_head) must be in [1, 65536], got 0",
                "9 | 8 | 8 | 1 | 2 | 0 | 1e-5 | 1 | innerSize (n_inner) must be in [1, 262144], got 0",
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
