package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(30)
class TraceFileTest {
    private static final String HEADER = "arrival_seconds,input_tokens,output_tokens/";

    @TempDir
    private Path directory;

    /** Reads lines, which end with slashes. */
    private List<PlannedRequest> read(String lines) throws IOException {
        return TraceFile.read(Files.writeString(directory.resolve("t.csv"), lines.replace('/', '\n')));
    }

    @Test
    void columnsMayComeInAnyOrderBesideOthers() throws IOException {
        assertEquals(
                List.of(new PlannedRequest(0, 5, 7), new PlannedRequest(0.25, 6, 8)),
                read("id,output_tokens,arrival_seconds, input_tokens/a,7,0,5/b,8,2.5e-1, 6/"));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "0,5,7/1,,7/ | ` line 3: input_tokens must be a number, got nothing`",
                "0,5,7/1,5/ | ` line 3: output_tokens must be a number, got nothing`",
                "0,5,7//1,5,7/ | ` line 3: arrival_seconds must be a number, got nothing`",
                "0,5,x/ | ` line 2: output_tokens must be a number, got x`",
                "0,5,0/ | ` line 2: output_tokens must be an integer >= 1, got 0`",
                "0,5.5,7/ | ` line 2: input_tokens must be an integer >= 1, got 5.5`",
                "0,5,3e9/ | ` line 2: output_tokens must be an integer >= 1, got 3e9`",
                "2,5,7/1,5,7/ | ` line 3: arrival_seconds must be in [2.0, 1e9), as arrivals ascend, got 1`",
                "NaN,5,7/ | ` line 2: arrival_seconds must be in [0.0, 1e9), as arrivals ascend, got NaN`",
                "-1,5,7/ | ` line 2: arrival_seconds must be in [0.0, 1e9), as arrivals ascend, got -1`",
                "`` | `: expected a request on each line after the header, got none`",
            })
    void aHoleOrAWrongNumberIsNamed(String rows, String message) {
        assertEquals(
                directory.resolve("t.csv") + message,
                assertThrows(IOException.class, () -> read(HEADER + rows)).getMessage());
    }

    @Test
    void aMissingColumnIsNamedWithThoseThatAreThere() {
        assertEquals(
                directory.resolve("t.csv")
                        + ": expected columns arrival_seconds, input_tokens and output_tokens, got arrival, input_tokens",
                assertThrows(IOException.class, () -> read("arrival,input_tokens/0,5/"))
                        .getMessage());
    }

    @Test
    void otherTextIsNotCsv() {
        String message =
                assertThrows(IOException.class, () -> read(HEADER + "0,\"5,7/")).getMessage();
        assertEquals(directory.resolve("t.csv") + ": is not CSV: ", message.split("(?<=CSV: )")[0]);
    }
}
