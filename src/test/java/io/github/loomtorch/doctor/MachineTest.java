package io.github.loomtorch.doctor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Reads what Linux says of a machine. */
@Timeout(20)
class MachineTest {
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Tue Oct 7 | 580.159.04",
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build | 570.86.10",
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  595.45  Mon Nov 3 | 595.45"
            })
    void readsTheDriversVersion(String text, String expected) {
        assertEquals(Optional.of(expected), Machine.driver(text + "\nGCC version:  gcc version 12.3.0 (Ubuntu)"));
    }

    @Test
    void readsNothingWhereThereIsNothing() {
        assertEquals(Optional.empty(), Machine.driver(""));
        assertEquals(Optional.empty(), Machine.kibibytes("", "MemTotal"));
        assertEquals(Set.of(), Machine.flags(""));
    }

    @Test
    void readsMemoryInBytes() {
        String text = "MemTotal:        8010708 kB\nMemFree:   10 kB\nMemAvailable:    6010 kB\n";
        assertEquals(Optional.of(8_010_708L * 1024), Machine.kibibytes(text, "MemTotal"));
        assertEquals(Optional.of(6_010L * 1024), Machine.kibibytes(text, "MemAvailable"));
    }

    @Test
    void readsInstructionSets() {
        assertEquals(Set.of("fpu", "avx2"), Machine.flags("processor\t: 0\nflags\t\t: fpu avx2\nflags\t\t: fpu\n"));
        assertEquals(Set.of("fp", "asimd"), Machine.flags("processor\t: 0\nFeatures\t: fp asimd\n"));
    }

    @Test
    void describesThisMachine() {
        Machine machine = Machine.here();
        assertTrue(machine.processors() >= 1 && machine.processors() <= machine.hostProcessors(), machine.toString());
        assertTrue(machine.availableBytes() > 0 && machine.availableBytes() <= machine.hostMemoryBytes());
        assertTrue(machine.memoryBytes() <= machine.hostMemoryBytes(), machine.toString());
        assertTrue(machine.nativeAccess(), "the tests run with --enable-native-access");
    }
}
