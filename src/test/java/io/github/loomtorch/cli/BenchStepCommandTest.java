package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.loomtorch.torch.program.StepProfile;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import org.junit.jupiter.api.Test;

class BenchStepCommandTest {
    @Test
    void partsThatAreNoiseOrMoveNothingHaveNoShareOfCopySpeed() {
        StepProfile step = new StepProfile(
                8,
                200,
                200,
                2e12,
                List.of(
                        new StepProfile.Part("attention", 12, 50, 75_000_000),
                        new StepProfile.Part("embedding", 1, 0, 40_000),
                        new StepProfile.Part("norm", 0, 20, 0)));
        StringWriter out = new StringWriter();

        BenchStepCommand.print(step, new PrintWriter(out, true));

        List<String> words =
                out.toString().lines().map(line -> line.replaceAll(" +", " ")).toList();
        assertEquals(
                List.of(
                        "part launches us share MB of copy speed",
                        "attention 12 50.0 25% 75.00 75%",
                        "embedding 1 0.0 0% 0.04 -",
                        "norm 0 20.0 10% 0.00 -"),
                words);
    }
}
