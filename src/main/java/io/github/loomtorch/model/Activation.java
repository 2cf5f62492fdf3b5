package io.github.loomtorch.model;

import java.util.Map;
import java.util.TreeSet;

/** The non-linear function in the feed-forward block of a layer. */
public enum Activation {
    /**
     * The tanh approximation of GELU, which GPT-2 was trained with: {@code 0.5x(1 + tanh(sqrt(2/pi)(x +
     * 0.044715x^3)))}.
     */
    GELU_TANH,
    /** GELU by the error function: {@code 0.5x(1 + erf(x/sqrt(2)))}. */
    GELU,
    /** {@code max(0, x)}. */
    RELU,
    /** The sigmoid approximation of GELU: {@code x / (1 + exp(-1.702x))}. */
    QUICK_GELU,
    /** SiLU, also called Swish: {@code x / (1 + exp(-x))}. */
    SILU,
    /** {@code tanh(x)}. */
    TANH;

    /** Hugging Face has several implementations of some functions; they differ only in how they round. */
    private static final Map<String, Activation> BY_NAME = Map.ofEntries(
            Map.entry("gelu_new", GELU_TANH),
            Map.entry("gelu_fast", GELU_TANH),
            Map.entry("gelu_accurate", GELU_TANH),
            Map.entry("gelu_pytorch_tanh", GELU_TANH),
            Map.entry("gelu_python_tanh", GELU_TANH),
            Map.entry("gelu", GELU),
            Map.entry("gelu_python", GELU),
            Map.entry("relu", RELU),
            Map.entry("quick_gelu", QUICK_GELU),
            Map.entry("silu", SILU),
            Map.entry("swish", SILU),
            Map.entry("tanh", TANH));

    /**
     * Finds a function by the name that {@code activation_function} in {@code config.json} gives it.
     *
     * @param name one of Hugging Face's: {@code gelu_new} and its equals {@code gelu_fast}, {@code gelu_accurate},
     *     {@code gelu_pytorch_tanh} and {@code gelu_python_tanh}; {@code gelu} and its equal {@code gelu_python};
     *     {@code relu}; {@code quick_gelu}; {@code silu} and its equal {@code swish}; {@code tanh}
     * @return the function
     * @throws IllegalArgumentException if the name is none of these
     */
    public static Activation of(String name) {
        Activation activation = BY_NAME.get(name);
        if (activation == null) {
            throw new IllegalArgumentException("activation_function must be one of " + new TreeSet<>(BY_NAME.keySet())
                    + ", got \"" + Json.shorten(name) + "\"");
        }
        return activation;
    }

    /**
     * The name of the function in a {@code config.json}.
     *
     * @return such as {@code gelu_new}; {@link #of} finds the function by it
     */
    public String configName() {
        return switch (this) {
            case GELU_TANH -> "gelu_new";
            case GELU -> "gelu";
            case RELU -> "relu";
            case QUICK_GELU -> "quick_gelu";
            case SILU -> "silu";
            case TANH -> "tanh";
        };
    }
}
