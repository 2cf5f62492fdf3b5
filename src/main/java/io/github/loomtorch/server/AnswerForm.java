package io.github.loomtorch.server;

/** The two forms of an answer. Immutable. */
enum AnswerForm {
    /** Of {@code /v1/completions}. */
    TEXT("cmpl-", "text_completion", "text_completion"),
    /** Of {@code /v1/chat/completions}. */
    CHAT("chatcmpl-", "chat.completion", "chat.completion.chunk");

    private final String idPrefix;
    private final String whole;
    private final String event;

    AnswerForm(String idPrefix, String whole, String event) {
        this.idPrefix = idPrefix;
        this.whole = whole;
        this.event = event;
    }

    /** What an answer's id begins with. */
    String idPrefix() {
        return idPrefix;
    }

    /** The answer's {@code object}. */
    String object(boolean stream) {
        return stream ? event : whole;
    }
}
