/**
 * GPT-2 in the JVM, on libtorch: {@link io.github.loomtorch.TextGenerator} is where to start.
 *
 * <p>The natives and the embedded model are modules that nothing here requires, because a user chooses them: name them
 * in {@code --add-modules}, or leave their jars on the class path.
 */
@SuppressWarnings("requires-automatic") // Micrometer and XChart have no module descriptors; no library user needs them
module io.github.loomtorch {
    requires com.fasterxml.jackson.databind;
    requires java.net.http;
    requires org.bytedeco.cuda;
    requires org.bytedeco.openblas;
    requires org.bytedeco.pytorch;
    requires org.slf4j;
    requires static org.jspecify;

    // Of the command line and the HTTP server only.
    requires static info.picocli;
    requires static java.desktop;
    requires static java.management;
    requires static jdk.jfr;
    requires static jdk.management;
    requires static me.tongfei.progressbar;
    requires static micrometer.core;
    requires static micrometer.registry.prometheus;
    requires static org.apache.commons.csv;
    requires static org.eclipse.jetty.http2.server;
    requires static org.eclipse.jetty.server;
    requires static xchart;

    exports io.github.loomtorch;
    exports io.github.loomtorch.options;
    exports io.github.loomtorch.request;
    exports io.github.loomtorch.tokenizer;

    opens io.github.loomtorch.cli to
            info.picocli;
}
