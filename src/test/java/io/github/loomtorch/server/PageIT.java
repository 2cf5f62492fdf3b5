package io.github.loomtorch.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.loomtorch.testing.Browser;
import io.github.loomtorch.testing.StepGate;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** The page at {@code /} in a headless Chromium, by keyboard alone. Skipped without a browser. */
@Timeout(120)
@EnabledOnOs(OS.LINUX)
class PageIT {
    @TempDir
    private Path profile;

    private Browser browser;

    @BeforeEach
    void open() throws Exception {
        assumeTrue(
                Browser.executable().isPresent(), "the page needs chromium on the path, or CHROMIUM to name a browser");
        browser = new Browser(profile);
    }

    @AfterEach
    void close() {
        if (browser != null) {
            browser.close();
        }
    }

    private String text(String id) {
        return browser.value("document.getElementById('" + id + "').textContent")
                .textValue();
    }

    @Test
    void generatesAndShowsTheProbabilitiesByKeyboard() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            browser.open(fake.uri("/"));
            browser.await("$('model').textContent === 'fake'");
            browser.await("$('running').textContent === '0'");
            assertEquals("prompt", browser.value("document.activeElement.id").textValue());
            browser.value("$('prompt').select()");
            browser.type("abc");
            browser.value("$('max_tokens').value = 9; $('temperature').value = 0");
            browser.press("Enter", true);
            browser.await(
                    "$('status').textContent.startsWith('9 tokens') || $('status').textContent.includes('ended by stop')");
            String expected = fake.complete(
                            "{'prompt': 'abc', 'max_tokens': 9, 'temperature': 0, 'top_k': 50, 'top_p': 0.95}")
                    .at("/choices/0/text")
                    .textValue();
            assertEquals(expected, text("output"));

            browser.value("document.querySelector('#output span').focus()");
            browser.await("!document.querySelector('#detail table').hidden");
            String first = browser.value("document.activeElement.ariaLabel").textValue();
            browser.press("ArrowRight", false);
            String second = browser.value("document.activeElement.ariaLabel").textValue();
            assertNotEquals(first, second);
            browser.press("ArrowLeft", false);
            assertEquals(
                    first, browser.value("document.activeElement.ariaLabel").textValue());
            assertEquals(
                    1,
                    browser.value("document.querySelectorAll('#output [tabindex=\"0\"]').length")
                            .intValue());
        }
    }

    @Test
    void stopsByKeyboardAndCancelsTheRequest() throws Exception {
        StepGate gate = new StepGate();
        try (FakeServer fake = new FakeServer(o -> o, q -> q, model -> model.onAwait(chunks -> gate.pass()))) {
            browser.open(fake.uri("/"));
            browser.value("$('max_tokens').value = 50; $('prompt').value = 'abc'");
            browser.press("Enter", true);
            gate.awaitStep();
            browser.await("!document.getElementById('stop').disabled");
            browser.press("Escape", false);
            browser.await("$('status').textContent.startsWith('Stopped')");
            gate.open();
            while (fake.server.requestsInFlight() > 0) {
                Thread.onSpinWait();
            }
        }
    }

    @Test
    void saysWhatTheServerRefuses() throws Exception {
        try (FakeServer fake = new FakeServer(options -> options.apiKeys(List.of("key")), q -> q, model -> model)) {
            browser.open(fake.uri("/"));
            browser.await("!$('key_field').hidden");
            browser.value("$('key').value = 'key'; $('key').dispatchEvent(new Event('change'))");
            browser.await("$('model').textContent === 'fake'");
            browser.value("$('max_tokens').value = 1000; $('prompt').value = 'abc'");
            browser.press("Enter", true);
            browser.await("$('status').className === 'bad'");
            assertTrue(text("status").contains("must be <= max_model_len"), text("status"));
        }
    }

    @Test
    void saysThatTheConnectionWasLost() throws Exception {
        StepGate gate = new StepGate();
        try (FakeServer fake = new FakeServer(o -> o, q -> q, model -> model.onAwait(chunks -> gate.pass()))) {
            browser.open(fake.uri("/"));
            browser.value("$('max_tokens').value = 50; $('prompt').value = 'abc'");
            browser.press("Enter", true);
            gate.awaitStep();
            gate.nextStep();
            browser.await("$('status').textContent === 'Generating'");
            fake.server.close();
            browser.await("$('status').textContent.startsWith('The connection was lost after ')");
            gate.open();
        }
    }

    @Test
    void showsHowBusyTheGpusAre() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            browser.open(fake.uri("/"));
            browser.await("$('running').textContent === '0'");
            assertTrue(browser.value("$('gpu_field').hidden").asBoolean());
            fake.metrics.watchGpus(
                    () -> List.of(new GpuUse("cuda:0", 0.25, 1, 1, 1), new GpuUse("cuda:1", 0.75, 1, 1, 1)));
            browser.await("!$('gpu_field').hidden && $('gpu').textContent === '50 %'");
        }
    }

    @Test
    void fitsNarrowAndWideScreensInLightAndDark() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            browser.open(fake.uri("/"));
            String background = "getComputedStyle(document.body).backgroundColor";
            browser.show(1200, 800, false);
            String light = browser.value(background).textValue();
            browser.show(375, 800, true);
            assertNotEquals(light, browser.value(background).textValue());
            assertFalse(browser.value("document.documentElement.scrollWidth > innerWidth")
                    .asBoolean());
        }
    }
}
