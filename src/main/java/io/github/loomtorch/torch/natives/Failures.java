package io.github.loomtorch.torch.natives;

import io.github.loomtorch.request.TorchException;

/** The one place that tells libtorch's failures apart, which all arrive as a {@link RuntimeException} with a text. */
public final class Failures {
    private static final String IN_TORCHSCRIPT = "RuntimeError: ";

    private Failures() {}

    public static boolean isOutOfMemory(RuntimeException e) {
        String message = String.valueOf(e.getMessage());
        return message.contains("out of memory") || message.contains("can't allocate memory");
    }

    /** Wraps what libtorch threw, with what was being done and what to do about it. */
    public static TorchException explain(String operation, RuntimeException e) {
        if (e instanceof TorchException explained) {
            return explained;
        }
        String advice =
                isOutOfMemory(e) ? "; reduce maxBatchSize, the KV cache or the prompts, or take a smaller dtype" : "";
        return new TorchException(operation + " failed: " + reason(e) + advice, e);
    }

    /** The first line of a message that says anything. */
    public static String firstLine(Throwable e) {
        return String.valueOf(e.getMessage())
                .lines()
                .filter(line -> !line.isBlank())
                .findFirst()
                .orElse("no reason given");
    }

    /**
     * The line that says what is wrong: the first, or in a failure of a TorchScript program the one after its
     * traceback.
     */
    private static String reason(RuntimeException e) {
        String message = String.valueOf(e.getMessage());
        int start = message.lastIndexOf("\n" + IN_TORCHSCRIPT) + 1;
        return message.substring(start).lines().findFirst().orElse("").replaceFirst("^" + IN_TORCHSCRIPT, "");
    }
}
