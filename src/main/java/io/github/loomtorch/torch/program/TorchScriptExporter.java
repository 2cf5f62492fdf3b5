package io.github.loomtorch.torch.program;

import io.github.loomtorch.model.CheckpointTensor;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Failures;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.natives.TensorScope;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.ExtraFilesMap;
import org.bytedeco.pytorch.Generator;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.QualifiedName;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Makes {@code model.ts}, the TorchScript form of a GPT-2, from its {@code config.json} and weights, and keeps it
 * beside them: written again when they or the program change, and only ever whole (a temporary file, then a rename).
 *
 * <p>The weights of all layers are stacked, so that one parameter holds one kind of weight for the whole model, in the
 * weights' dtype. Matrices are stored {@code [out, in]}, and the token embedding's rows are padded with zeros to a
 * multiple of 64.
 */
public final class TorchScriptExporter {
    private static final Logger LOG = LoggerFactory.getLogger(TorchScriptExporter.class);
    private static final int LAYOUT = 1; // to be counted up when the parameters change
    private static final String STAMP = "loomtorch";
    private static final long ARCHIVE_BYTES = 1 << 20; // more than all but the parameters takes
    private static final Duration ABANDONED = Duration.ofHours(1); // since an export's last write

    private TorchScriptExporter() {}

    /**
     * Writes {@code model.ts} anew, whatever is there.
     *
     * @param directory with weights
     * @return the file
     * @throws IOException if there are no weights, they are bad, or the file cannot be written; a file that was there
     *     is then still there
     * @throws TorchException if libtorch cannot be loaded
     */
    public static Path export(ModelDirectory directory) throws IOException {
        Libtorch.load();
        try (TensorScope scope = new TensorScope()) {
            String stamp =
                    stamp(directory); // before the weights are read: if they change meanwhile, it is exported again
            save(build(directory), directory, stamp);
        }
        return directory.torchScript();
    }

    /**
     * Whether {@code model.ts} is there and fits the directory's weights and this version of the program.
     *
     * @param directory where to look
     * @return false if {@link #export} has to run first
     * @throws IOException if the weights cannot be read
     */
    public static boolean isCurrent(ModelDirectory directory) throws IOException {
        return Files.isRegularFile(directory.torchScript())
                && readStamp(directory.torchScript()).equals(stamp(directory));
    }

    /**
     * The model on a device, from {@code model.ts}, which is exported first if it has to be.
     *
     * @return owned by the caller's pointer scope
     */
    public static JitModule load(ModelDirectory directory, Device device, ScalarType dtype) throws IOException {
        Path file = directory.torchScript();
        if (directory.hasWeights() && !isCurrent(directory)) {
            String stamp = stamp(directory);
            JitModule module = build(directory);
            try {
                save(module, directory, stamp);
            } catch (IOException e) {
                LOG.warn("{}; the model runs, but is exported again next time", e.getMessage());
            }
            module.to(device, dtype, false);
            return module;
        }
        String stamp = readStamp(file);
        Gpt2Config config = config(directory);
        if (!stamp.startsWith(version(config) + " ")) {
            throw new IOException(
                    file + ": expected a model that this version of the program exported for config.json as it is, got "
                            + (stamp.isEmpty()
                                    ? "a file that it did not export"
                                    : "one exported by another version or for another config.json")
                            + "; put the model's weights beside it, then it is exported again");
        }
        JitModule module;
        try {
            module = torch.load(file.toString(), new DeviceOptional(device), false);
        } catch (RuntimeException e) {
            if (Failures.isOutOfMemory(e)) {
                throw Failures.explain("loading " + file, e);
            }
            throw new IOException(
                    file + ": expected a TorchScript archive, got: " + Libtorch.firstLine(e)
                            + "; delete it, then it is exported again from the weights",
                    e);
        }
        requireShapes(file, module, config);
        module.to(dtype, false);
        return module;
    }

    /** What the program does not show: without weights, {@code config.json} may have changed since the export. */
    private static void requireShapes(Path file, JitModule module, Gpt2Config config) throws IOException {
        for (Map.Entry<String, long[]> parameter : parameters(config).entrySet()) {
            long[] shape = module.attr(parameter.getKey()).toTensor().shape();
            if (!Arrays.equals(shape, parameter.getValue())) {
                throw new IOException(file + ": expected parameter " + parameter.getKey() + " of shape "
                        + Arrays.toString(parameter.getValue()) + " from config.json, got " + Arrays.toString(shape));
            }
        }
    }

    /**
     * A model of this shape with random weights, initialised as GPT-2 is: normal with deviation 0.02, residual
     * projections less.
     */
    public static JitModule random(Gpt2Config config, long seed, Device device, ScalarType dtype) {
        Generator generator = torch.make_generator_cpu(seed);
        JitModule module = new JitModule(new QualifiedName("Gpt2"));
        for (Map.Entry<String, long[]> parameter : parameters(config).entrySet()) {
            String name = parameter.getKey();
            Tensor value = torch.zeros(parameter.getValue(), new TensorOptions(ScalarType.Float));
            if (name.startsWith("ln") && name.endsWith("_w")) {
                value.fill_(new Scalar(1.0f));
            } else if (!name.endsWith("_b")) {
                boolean residual = name.equals("proj_w") || name.equals("out_w");
                double deviation = 0.02 / (residual ? Math.sqrt(2.0 * config.layerCount()) : 1);
                value.normal_(0, deviation, new GeneratorOptional(generator));
            }
            module.register_parameter(name, value, false);
        }
        module.define(TorchScriptSource.of(config));
        module.to(device, dtype, false);
        return module;
    }

    /** Names and shapes of the module's parameters. */
    private static Map<String, long[]> parameters(Gpt2Config config) {
        long v = config.paddedVocabSize();
        long l = config.layerCount();
        long c = config.hiddenSize();
        long f = config.innerSize();
        Map<String, long[]> shapes = new LinkedHashMap<>();
        shapes.put("wte", new long[] {v, c});
        shapes.put("wpe", new long[] {config.contextLength(), c});
        shapes.put("ln1_w", new long[] {l, c});
        shapes.put("ln1_b", new long[] {l, c});
        shapes.put("qkv_w", new long[] {l, 3 * c, c});
        shapes.put("qkv_b", new long[] {l, 3 * c});
        shapes.put("proj_w", new long[] {l, c, c});
        shapes.put("proj_b", new long[] {l, c});
        shapes.put("ln2_w", new long[] {l, c});
        shapes.put("ln2_b", new long[] {l, c});
        shapes.put("fc_w", new long[] {l, f, c});
        shapes.put("fc_b", new long[] {l, f});
        shapes.put("out_w", new long[] {l, c, f});
        shapes.put("out_b", new long[] {l, c});
        shapes.put("lnf_w", new long[] {c});
        shapes.put("lnf_b", new long[] {c});
        if (!config.tieWordEmbeddings()) {
            shapes.put("lm_head", new long[] {v, c});
        }
        return shapes;
    }

    /** The name in the checkpoint of a parameter; {@code %d} is the layer. */
    private static final Map<String, String> CHECKPOINT_NAMES = Map.ofEntries(
            Map.entry("wte", "wte.weight"),
            Map.entry("wpe", "wpe.weight"),
            Map.entry("ln1_w", "h.%d.ln_1.weight"),
            Map.entry("ln1_b", "h.%d.ln_1.bias"),
            Map.entry("qkv_w", "h.%d.attn.c_attn.weight"),
            Map.entry("qkv_b", "h.%d.attn.c_attn.bias"),
            Map.entry("proj_w", "h.%d.attn.c_proj.weight"),
            Map.entry("proj_b", "h.%d.attn.c_proj.bias"),
            Map.entry("ln2_w", "h.%d.ln_2.weight"),
            Map.entry("ln2_b", "h.%d.ln_2.bias"),
            Map.entry("fc_w", "h.%d.mlp.c_fc.weight"),
            Map.entry("fc_b", "h.%d.mlp.c_fc.bias"),
            Map.entry("out_w", "h.%d.mlp.c_proj.weight"),
            Map.entry("out_b", "h.%d.mlp.c_proj.bias"),
            Map.entry("lnf_w", "ln_f.weight"),
            Map.entry("lnf_b", "ln_f.bias"),
            Map.entry("lm_head", "lm_head.weight"));

    private static JitModule build(ModelDirectory directory) throws IOException {
        Gpt2Weights weights = directory.weights();
        Gpt2Config config = weights.config();
        ScalarType dtype = scalarType(weights.dtype());
        JitModule module = new JitModule(new QualifiedName("Gpt2"));
        for (Map.Entry<String, long[]> parameter : parameters(config).entrySet()) {
            String checkpointName = CHECKPOINT_NAMES.get(parameter.getKey());
            Tensor value = torch.zeros(parameter.getValue(), new TensorOptions(dtype));
            if (checkpointName.contains("%d")) {
                for (int layer = 0; layer < config.layerCount(); layer++) {
                    copy(weights.get(checkpointName.formatted(layer)), value.select(0, layer));
                }
            } else {
                CheckpointTensor source = weights.get(checkpointName);
                copy(source, value.narrow(0, 0, source.shape()[0]));
            }
            module.register_parameter(parameter.getKey(), value, false);
        }
        module.define(TorchScriptSource.of(config));
        return module;
    }

    /** Copies a checkpoint's tensor; one whose shape is the other way round, as Conv1D weights are, is transposed. */
    private static void copy(CheckpointTensor source, Tensor target) throws IOException {
        try (PointerScope scope = new PointerScope()) {
            Tensor mapped = torch.from_blob(
                    new BytePointer(source.data()), source.shape(), new TensorOptions(scalarType(source.dtype())));
            boolean conv1d = source.shape().length == 2 && source.name().contains(".c_");
            target.copy_(conv1d ? mapped.t() : mapped);
        }
    }

    private static ScalarType scalarType(DType dtype) {
        return switch (dtype) {
            case F16 -> ScalarType.Half;
            case BF16 -> ScalarType.BFloat16;
            case F64 -> ScalarType.Double;
            default -> ScalarType.Float; // Gpt2Weights lets no other through
        };
    }

    private static void save(JitModule module, ModelDirectory directory, String stamp) throws IOException {
        Path file = directory.torchScript();
        deleteAbandoned(directory);
        Path temporary = directory
                .path()
                .resolve("model.ts." + UUID.randomUUID() + ".tmp"); // others may export at the same time
        try (ExtraFilesMap extra = new ExtraFilesMap()) {
            requireSpace(directory.path(), module, config(directory));
            Files.createFile(temporary); // libtorch's own failure would not say why
            extra.put(new BytePointer(STAMP), stamp);
            module.save(temporary.toString(), extra);
            Files.move(temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
            throw new IOException(file + " could not be written: " + reason(e), e);
        } catch (RuntimeException e) {
            throw new IOException(file + " could not be written: " + Libtorch.firstLine(e), e);
        } finally {
            Files.deleteIfExists(temporary);
        }
    }

    /**
     * Deletes what exports left that were killed. Others may be at work: theirs are written to all the time, so they
     * are young.
     */
    private static void deleteAbandoned(ModelDirectory directory) {
        FileTime limit = FileTime.from(Instant.now().minus(ABANDONED));
        try (DirectoryStream<Path> files = Files.newDirectoryStream(directory.path(), "model.ts.*.tmp")) {
            for (Path file : files) {
                if (Files.getLastModifiedTime(file).compareTo(limit) < 0) {
                    Files.delete(file);
                }
            }
        } catch (IOException | DirectoryIteratorException e) {
            LOG.debug(
                    "abandoned exports in {} could not be deleted",
                    directory.path(),
                    e); // or another export was faster
        }
    }

    /** Asks first, because libtorch ends the whole process when the disk is full. */
    private static void requireSpace(Path directory, JitModule module, Gpt2Config config) throws IOException {
        long elements = parameters(config).values().stream()
                .mapToLong(shape -> Arrays.stream(shape).reduce(1, (x, y) -> x * y))
                .sum();
        long needed = elements * module.attr("wte").toTensor().element_size() + ARCHIVE_BYTES;
        long free = directory.toFile().getUsableSpace();
        if (free < needed) {
            throw new IOException("it needs %d MB, and %d MB of the disk are free".formatted(needed >> 20, free >> 20));
        }
    }

    /** Without the name of the temporary file, which says nothing to the user. */
    private static String reason(IOException e) {
        if (e instanceof AccessDeniedException) {
            return "access denied";
        }
        boolean explained = e instanceof FileSystemException failed && failed.getReason() != null;
        return explained ? ((FileSystemException) e).getReason() : String.valueOf(e.getMessage());
    }

    /**
     * The configuration that fits the weights.
     *
     * @param directory with or without weights
     * @return without weights, the directory's
     * @throws IOException if the weights are bad
     */
    public static Gpt2Config config(ModelDirectory directory) throws IOException {
        return directory.hasWeights() ? directory.weights().config() : directory.config();
    }

    private static String stamp(ModelDirectory directory) throws IOException {
        return version(config(directory)) + " " + directory.fingerprint();
    }

    /** Of the weights' layout and of the program. */
    private static String version(Gpt2Config config) {
        return LAYOUT + "." + Integer.toHexString(TorchScriptSource.of(config).hashCode());
    }

    /** What the exporter wrote into the archive's extra files; empty if it is none of its archives. */
    private static String readStamp(Path file) throws IOException {
        try (ZipFile archive = new ZipFile(file.toFile())) {
            ZipEntry entry = archive.stream()
                    .filter(candidate -> candidate.getName().endsWith("/extra/" + STAMP))
                    .findFirst()
                    .orElse(null);
            if (entry == null) {
                return "";
            }
            return new String(archive.getInputStream(entry).readAllBytes(), StandardCharsets.UTF_8);
        } catch (FileNotFoundException e) {
            throw e;
        } catch (IOException e) {
            return ""; // a damaged archive: of no version
        }
    }
}
