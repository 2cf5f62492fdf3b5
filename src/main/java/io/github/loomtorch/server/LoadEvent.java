package io.github.loomtorch.server;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** The start of a server, in a JFR recording: its duration is from listening to ready. */
@Name("io.github.loomtorch.Load")
@Label("Load")
@Category("Loomtorch")
@Description("A server loaded its model, from listening to ready")
@StackTrace(false)
final class LoadEvent extends Event {
    @Label("Model")
    String model = "";

    @Label("Fingerprint")
    String fingerprint = "";

    void commit(ServedModel served) {
        model = served.name();
        fingerprint = served.fingerprint();
        commit();
    }
}
