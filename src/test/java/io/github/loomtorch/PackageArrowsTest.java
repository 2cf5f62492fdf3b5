package io.github.loomtorch;

import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAnyPackage;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideOutsideOfPackage;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.GeneralCodingRules.ACCESS_STANDARD_STREAMS;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static java.util.stream.Collectors.toSet;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption.DoNotIncludeTests;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.io.IOException;
import java.io.InputStream;
import java.lang.module.ModuleDescriptor;
import java.lang.module.ModuleDescriptor.Exports;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which package may use which, as the compiled classes of src/main do. */
@Timeout(60)
class PackageArrowsTest {
    private static final String ROOT = "io.github.loomtorch";
    private static final JavaClasses CLASSES =
            new ClassFileImporter().withImportOption(new DoNotIncludeTests()).importPackages(ROOT);

    /** A package, and which others of ours it may use; "base" is the package of TextGenerator. */
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "json      |",
                "serial    |",
                "request   | serial",
                "options   | serial",
                "tokenizer | json",
                "model     | json",
                "hub       | model tokenizer",
                "sampling  | request",
                "engine    | request options tokenizer",
                "scheduler | request options engine",
                "torch     | request options model sampling engine",
                "base      | request options tokenizer model hub engine scheduler torch",
                "bench     | json request options tokenizer engine scheduler base",
                "server    | json request options tokenizer base",
                "doctor    | request options model torch base",
            })
    void aPackageUsesOnlyThoseBelowIt(String from, String allowed) {
        String[] mayUse = Stream.concat(
                        Stream.of(from), Stream.of(allowed == null ? new String[0] : allowed.split(" ")))
                .map(PackageArrowsTest::pattern)
                .toArray(String[]::new);
        classes()
                .that()
                .resideInAPackage(pattern(from))
                .should()
                .onlyDependOnClassesThat(resideOutsideOfPackage(ROOT + "..").or(resideInAnyPackage(mayUse)))
                .check(CLASSES);
    }

    private static String pattern(String name) {
        return name.equals("base") ? ROOT : ROOT + "." + name + "..";
    }

    @Test
    void packagesHaveNoCycles() {
        slices().matching(ROOT + ".(**)").should().beFreeOfCycles().check(CLASSES);
    }

    /** A package below torch, and which others there it may use. */
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "natives |",
                "gpt2    | natives",
                "program | natives gpt2",
                "cpu     | natives gpt2",
                "cuda    | natives gpt2 program",
            })
    void theRoomsOfTorchUseOnlyThoseBelowThem(String from, String allowed) {
        String torch = ROOT + ".torch";
        String[] mayUse = Stream.concat(
                        Stream.of(from), Stream.of(allowed == null ? new String[0] : allowed.split(" ")))
                .map(name -> torch + "." + name)
                .toArray(String[]::new);
        classes()
                .that()
                .resideInAPackage(torch + "." + from)
                .should()
                .onlyDependOnClassesThat(resideOutsideOfPackage(torch + "..").or(resideInAnyPackage(mayUse)))
                .check(CLASSES);
    }

    /** So a model on the CPU starts without it. */
    @Test
    void kernelsForTheCpuDoNotUseLibtorch() {
        noClasses()
                .that()
                .resideInAnyPackage(ROOT + ".torch.cpu", ROOT + ".torch.gpt2")
                .should()
                .dependOnClassesThat()
                .resideInAPackage("org.bytedeco.pytorch..")
                .check(CLASSES);
    }

    @Test
    void theModuleExportsThePublicPackages() throws IOException {
        ModuleDescriptor module;
        try (InputStream in = Files.newInputStream(Path.of("target/classes/module-info.class"))) {
            module = ModuleDescriptor.read(in);
        }
        assertEquals(
                Set.of(ROOT, ROOT + ".request", ROOT + ".options", ROOT + ".tokenizer"),
                module.exports().stream().map(Exports::source).collect(toSet()));
        assertTrue(module.exports().stream().noneMatch(Exports::isQualified), () -> "exports to all: " + module);
    }

    @Test
    void onlyTorchUsesLibtorch() {
        noClasses()
                .that()
                .resideOutsideOfPackage(ROOT + ".torch..")
                .should()
                .dependOnClassesThat()
                .resideInAPackage("org.bytedeco..")
                .check(CLASSES);
    }

    @Test
    void onlyTorchCudaUsesCuda() {
        noClasses()
                .that()
                .resideOutsideOfPackages(ROOT + ".torch.cuda..", ROOT + ".torch.natives")
                .and()
                // Sets the device and stream of its thread.
                .doNotBelongToAnyOf(TorchScriptProgram.class)
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("org.bytedeco.cuda..", "org.bytedeco.pytorch.cuda..")
                .check(CLASSES);
    }

    @Test
    void onlyTheServerUsesJetty() {
        noClasses()
                .that()
                .resideOutsideOfPackage(ROOT + ".server..")
                .should()
                .dependOnClassesThat()
                .resideInAPackage("org.eclipse.jetty..")
                .check(CLASSES);
    }

    @Test
    void onlyTheCommandLinePrints() {
        noClasses()
                .that()
                .resideOutsideOfPackage(ROOT + ".cli..")
                .should(ACCESS_STANDARD_STREAMS)
                .check(CLASSES);
    }
}
