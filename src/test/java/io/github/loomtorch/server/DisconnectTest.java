package io.github.loomtorch.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.UnixOperatingSystemMXBean;
import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.LongSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Many clients, most of which leave early: nothing is lost and nothing is left. */
@Timeout(60)
class DisconnectTest {
    /** {@code -Dloomtorch.disconnects=10000} for a longer run. */
    private static final int REQUESTS = Integer.getInteger("loomtorch.disconnects", 1000);

    private static final int CLIENTS = 32;

    @Test
    void clientsThatLeaveLeaveNothingBehind() throws Exception {
        AtomicInteger whole = new AtomicInteger();
        AtomicInteger left = new AtomicInteger();
        try (FakeServer fake = new FakeServer()) { // opens and starts what stays for the life of the process
            run(fake, 0, whole, left);
        }
        int threads = Thread.activeCount();
        try (FakeServer fake = new FakeServer()) {
            run(fake, 0, whole, left);
            long descriptors = openDescriptors();
            try (ExecutorService clients = Executors.newFixedThreadPool(CLIENTS)) {
                for (int i = 0; i < REQUESTS; i++) {
                    int seed = i;
                    clients.execute(() -> run(fake, seed, whole, left));
                }
            }
            while (fake.server.requestsInFlight() > 0 || fake.runningTokens() > 0) {
                Thread.sleep(5);
            }
            assertEquals(0, fake.scheduler.queuedRequests());
            assertEquals(fake.pages(), fake.freePages());
            assertEquals(REQUESTS + 2, whole.get() + left.get());
            assertTrue(whole.get() > REQUESTS / 10 && left.get() > REQUESTS / 10, whole + " whole, " + left + " left");
            awaitAtMost(descriptors + 4, DisconnectTest::openDescriptors);
        }
        awaitAtMost(threads + 2, Thread::activeCount);
    }

    /** Jetty closes in its own time. */
    private static void awaitAtMost(long most, LongSupplier count) throws InterruptedException {
        long limit = System.nanoTime() + 10_000_000_000L;
        while (count.getAsLong() > most && System.nanoTime() < limit) {
            Thread.sleep(20);
        }
        assertTrue(count.getAsLong() <= most, () -> count.getAsLong() + ", expected at most " + most);
    }

    private static long openDescriptors() {
        return ManagementFactory.getOperatingSystemMXBean() instanceof UnixOperatingSystemMXBean unix
                ? unix.getOpenFileDescriptorCount()
                : 0;
    }

    /** Sends a request, reads a random number of bytes of the answer, and leaves; or reads it all. */
    private static void run(FakeServer fake, int seed, AtomicInteger whole, AtomicInteger left) {
        Random random = new Random(seed);
        boolean stream = random.nextBoolean();
        String body = "{\"prompt\":\"abc\",\"max_tokens\":" + (1 + random.nextInt(60))
                + ",\"ignore_eos\":true,\"stream\":" + stream + ",\"n\":" + (1 + random.nextInt(3)) + "}";
        int length = random.nextInt(8) == 0 ? body.length() + 1 : body.length(); // or leaves within the body
        try (Socket socket = new Socket("127.0.0.1", fake.server.uri().getPort())) {
            socket.setSoLinger(random.nextInt(4) == 0, 0); // or resets the connection
            socket.getOutputStream()
                    .write(("POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " + length
                                    + "\r\n\r\n" + body)
                            .getBytes(StandardCharsets.US_ASCII));
            InputStream in = socket.getInputStream();
            if (length == body.length() && random.nextInt(3) == 0) {
                String answer = new String(in.readAllBytes(), StandardCharsets.UTF_8);
                assertTrue(answer.startsWith("HTTP/1.1 200"), answer);
                assertTrue(answer.contains(stream ? "data: [DONE]" : "\"usage\""), answer);
                whole.incrementAndGet();
            } else {
                if (length == body.length()) {
                    in.readNBytes(random.nextInt(600));
                }
                left.incrementAndGet();
            }
        } catch (IOException e) {
            throw new AssertionError("a client failed", e);
        }
    }
}
