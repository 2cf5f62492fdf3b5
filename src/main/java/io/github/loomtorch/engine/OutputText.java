package io.github.loomtorch.engine;

/** The text of one sequence's output as it grows. Confined to the engine thread. */
interface OutputText {

    /** The text where there is no tokenizer: always empty. */
    OutputText NONE = new OutputText() {
        @Override
        public boolean append(int id) {
            return false;
        }

        @Override
        public String take(boolean ended) {
            return "";
        }

        @Override
        public String taken() {
            return "";
        }
    };

    /** Adds a token; true if it completes a stop string, which is cut off. End-of-text tokens add nothing. */
    boolean append(int id);

    /**
     * The text since the last call, but for what may be the beginning of a stop string; all of it if no more tokens
     * will come.
     */
    String take(boolean ended);

    /** All text taken so far. */
    String taken();
}
