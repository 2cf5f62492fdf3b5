package io.github.loomtorch.testing;

import io.github.loomtorch.model.CheckpointTensor;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.ModelDirectory;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.function.DoubleUnaryOperator;

/** GPT-2's forward pass by its definition: plain loops in double precision over a checkpoint as it is stored. */
public final class NaiveGpt2 {
    private final Gpt2Config config;
    private final Gpt2Weights weights;

    public NaiveGpt2(Path directory) throws IOException {
        weights = ModelDirectory.open(directory).weights();
        config = weights.config();
    }

    /** Logits after each token: [T, V]. */
    public double[][] logits(int... tokens) throws IOException {
        double[][] wte = matrix("wte.weight", config.vocabSize());
        double[][] wpe = matrix("wpe.weight", config.contextLength());
        double[][] x = new double[tokens.length][];
        for (int t = 0; t < tokens.length; t++) {
            x[t] = sum(wte[tokens[t]], wpe[t]);
        }
        for (int layer = 0; layer < config.layerCount(); layer++) {
            String h = "h." + layer + ".";
            double[][] qkv = linear(norm(x, h + "ln_1"), h + "attn.c_attn");
            add(x, linear(attend(qkv, layer), h + "attn.c_proj"));
            double[][] inner = linear(norm(x, h + "ln_2"), h + "mlp.c_fc");
            for (double[] row : inner) {
                Arrays.setAll(row, i -> activation().applyAsDouble(row[i]));
            }
            add(x, linear(inner, h + "mlp.c_proj"));
        }
        double[][] head = config.tieWordEmbeddings() ? wte : matrix("lm_head.weight", config.vocabSize());
        double[][] logits = norm(x, "ln_f");
        for (int t = 0; t < logits.length; t++) {
            double[] row = logits[t];
            logits[t] = Arrays.stream(head)
                    .mapToDouble(w -> dot(w, row, 0, 0, w.length))
                    .toArray();
        }
        return logits;
    }

    /** Natural-log probabilities of the tokens that come next, after each token: [T, V]. */
    public double[][] logprobs(int... tokens) throws IOException {
        double[][] logits = logits(tokens);
        for (double[] row : logits) {
            double logSum = Math.log(Arrays.stream(row).map(Math::exp).sum());
            Arrays.setAll(row, i -> row[i] - logSum);
        }
        return logits;
    }

    /** Causal self-attention of every head: [T, 3C] to [T, C]. */
    private double[][] attend(double[][] qkv, int layer) {
        int c = config.hiddenSize();
        int d = c / config.headCount();
        double scale = (config.scaleAttnWeights() ? 1 / Math.sqrt(d) : 1)
                / (config.scaleAttnByInverseLayerIdx() ? layer + 1 : 1);
        double[][] out = new double[qkv.length][c];
        for (int head = 0; head < config.headCount(); head++) {
            int q = head * d;
            int k = c + q;
            int v = 2 * c + q;
            for (int t = 0; t < qkv.length; t++) {
                double[] weights = new double[t + 1];
                for (int s = 0; s <= t; s++) {
                    weights[s] = Math.exp(scale * dot(qkv[t], qkv[s], q, k, d));
                }
                double total = Arrays.stream(weights).sum();
                for (int s = 0; s <= t; s++) {
                    for (int i = 0; i < d; i++) {
                        out[t][q + i] += weights[s] / total * qkv[s][v + i];
                    }
                }
            }
        }
        return out;
    }

    private double[][] norm(double[][] x, String name) throws IOException {
        double[] w = vector(name + ".weight");
        double[] b = vector(name + ".bias");
        double[][] out = new double[x.length][];
        for (int t = 0; t < x.length; t++) {
            double[] row = x[t];
            double mean = Arrays.stream(row).average().orElseThrow();
            double variance = Arrays.stream(row)
                    .map(value -> (value - mean) * (value - mean))
                    .average()
                    .orElseThrow();
            double deviation = Math.sqrt(variance + config.layerNormEpsilon());
            out[t] = new double[row.length];
            Arrays.setAll(out[t], i -> (row[i] - mean) / deviation * w[i] + b[i]);
        }
        return out;
    }

    /** Hugging Face's Conv1D: y = x W + b, W [in, out]. */
    private double[][] linear(double[][] x, String name) throws IOException {
        double[][] w = matrix(name + ".weight", x[0].length);
        double[] b = vector(name + ".bias");
        double[][] out = new double[x.length][];
        for (int t = 0; t < x.length; t++) {
            out[t] = b.clone();
            for (int i = 0; i < w.length; i++) {
                for (int j = 0; j < w[i].length; j++) {
                    out[t][j] += x[t][i] * w[i][j];
                }
            }
        }
        return out;
    }

    private DoubleUnaryOperator activation() {
        return switch (config.activation()) {
            case QUICK_GELU -> x -> x / (1 + Math.exp(-1.702 * x));
            case SILU -> x -> x / (1 + Math.exp(-x));
            case TANH -> Math::tanh;
            case RELU -> x -> Math.max(0, x);
            case GELU -> x -> 0.5 * x * (1 + erf(x / Math.sqrt(2)));
            case GELU_TANH -> x -> 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
        };
    }

    /** By the series of positive terms 2/sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (1 * 3 * ... * (2n+1)). */
    private static double erf(double x) {
        if (Math.abs(x) > 6) {
            return Math.signum(x);
        }
        double term = x;
        double sum = 0;
        for (int n = 1; Math.abs(term) > 1e-17; n++) {
            sum += term;
            term *= 2 * x * x / (2 * n + 1);
        }
        return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
    }

    private static double dot(double[] a, double[] b, int from, int to, int n) {
        double sum = 0;
        for (int i = 0; i < n; i++) {
            sum += a[from + i] * b[to + i];
        }
        return sum;
    }

    private static double[] sum(double[] a, double[] b) {
        double[] out = new double[a.length];
        Arrays.setAll(out, i -> a[i] + b[i]);
        return out;
    }

    private static void add(double[][] x, double[][] y) {
        for (int t = 0; t < x.length; t++) {
            x[t] = sum(x[t], y[t]);
        }
    }

    private double[][] matrix(String name, int rows) throws IOException {
        double[] values = vector(name);
        int columns = values.length / rows;
        double[][] matrix = new double[rows][];
        Arrays.setAll(matrix, row -> Arrays.copyOfRange(values, row * columns, (row + 1) * columns));
        return matrix;
    }

    private double[] vector(String name) throws IOException {
        CheckpointTensor tensor = weights.get(name);
        ByteBuffer data = tensor.data();
        double[] values = new double[data.remaining() / tensor.dtype().sizeBytes()];
        for (int i = 0; i < values.length; i++) {
            values[i] = switch (tensor.dtype()) {
                case F64 -> data.getDouble();
                case F32 -> data.getFloat();
                case F16 -> Float.float16ToFloat(data.getShort());
                case BF16 -> Float.intBitsToFloat(data.getShort() << 16);
                default -> throw new IOException("expected F64, F32, F16 or BF16, got " + tensor.dtype());
            };
        }
        return values;
    }
}
