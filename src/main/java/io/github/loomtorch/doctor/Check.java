package io.github.loomtorch.doctor;

/**
 * One thing that was looked at. Immutable.
 *
 * @param name what, in snake_case
 * @param status how it is
 * @param value what was found
 * @param advice what to do about it; empty if there is nothing to do
 */
public record Check(String name, Status status, String value, String advice) {

    /** How it is. */
    public enum Status {
        /** As it should be. */
        OK,
        /** It works, but could be better. */
        NOTE,
        /** Loomtorch does not run like this, or not where it was meant to. */
        PROBLEM
    }

    static Check ok(String name, String value) {
        return new Check(name, Status.OK, value, "");
    }

    static Check note(String name, String value, String advice) {
        return new Check(name, Status.NOTE, value, advice);
    }

    static Check problem(String name, String value, String advice) {
        return new Check(name, Status.PROBLEM, value, advice);
    }
}
