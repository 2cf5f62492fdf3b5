package io.github.loomtorch.model;

import java.util.Map;

/** The non-linear function in the feed-forward block of a layer. */
public enum Activation {
    /**
     * GELU by its tanh approximation, which GPT-2 was trained with: {@code 0.5x(1 + tanh(sqrt(2/pi)(x +
     * 0.044715x^3)))}.
     */
    GELU_TANH,
    /** GELU by the error function: {@code 0.5x(1 + erf(x/sqrt(2)))}. */
    GELU,
    /** {@code max(0, x)}. */
    RELU;

    private static final Map<String, Activation> BY_NAME =
            Map.of("gelu_new", GELU_TANH, "gelu_pytorch_tanh", GELU_TANH, "gelu", GELU, "relu", RELU);

    /**
     * Finds a function by the name that {@code activation_function} in {@code config.json} gives it.
     *
     * @param name {@code gelu_new}, {@code gelu_pytorch_tanh} (the same function), {@code gelu} or {@code relu}
     * @return the function
     * @throws IllegalArgumentException if there is no such name here
     */
    public static Activation of(String name) {
        Activation activation = BY_NAME.get(name);
        if (activation == null) {
            throw new IllegalArgumentException(
                    "activation_function must be gelu_new, gelu_pytorch_tanh, gelu or relu, got \"" + name + "\"");
        }
        return activation;
    }
}
