package io.github.loomtorch;

/** Placeholder until the first thin path runs. */
public final class Demo {
    private Demo() {}

    /**
     * Runs the demo.
     *
     * @param args none
     */
    public static void main(String[] args) {
        System.out.println("hello");
    }
}
