package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.Failures;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import org.bytedeco.cuda.global.nvrtc;
import org.bytedeco.cuda.nvrtc._nvrtcProgram;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.javacpp.SizeTPointer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Compiles CUDA C++ by NVRTC, which needs no GPU. Thread-safe. */
final class KernelCompiler {
    private static final Logger LOG = LoggerFactory.getLogger(KernelCompiler.class);
    private static final String LOAD_LIBRARIES = "org.bytedeco.javacpp.loadLibraries";

    private KernelCompiler() {}

    /**
     * Loads NVRTC; does nothing when it is loaded.
     *
     * @throws KernelsUnavailableException if NVRTC is missing
     */
    static void load() {
        try {
            Loader.load(nvrtc.class);
        } catch (LinkageError e) {
            throw unavailable(Failures.firstLine(e), e);
        }
    }

    /**
     * Loads NVRTC alone, without the CUDA driver, which a machine that only compiles does not have. For a process that
     * runs no model.
     *
     * @throws KernelsUnavailableException if NVRTC is missing
     */
    static void loadWithoutDriver() {
        String library = "/org/bytedeco/cuda/" + Loader.getPlatform() + "/" + System.mapLibraryName("jninvrtc");
        try {
            Loader.load(Loader.class);
            File extracted = Loader.cacheResource(nvrtc.class, library);
            if (extracted == null) {
                throw unavailable(
                        "no " + library.substring(1) + " on the class path", new FileNotFoundException(library));
            }
            System.load(extracted.getPath());
            // JavaCPP would load the CUDA runtime and with it the driver before NVRTC.
            System.setProperty(LOAD_LIBRARIES, "false");
            try {
                Loader.load(nvrtc.class);
                Class.forName(nvrtc.class.getName());
            } finally {
                System.clearProperty(LOAD_LIBRARIES);
            }
        } catch (LinkageError | IOException | ClassNotFoundException e) {
            throw unavailable(Failures.firstLine(e), e);
        }
    }

    private static KernelsUnavailableException unavailable(String reason, Throwable cause) {
        return new KernelsUnavailableException(
                "NVRTC could not be loaded: " + reason
                        + "; put its GPU natives, org.bytedeco:cuda with this platform's classifier, on the class path"
                        + " (Maven profile gpu) and CUDA's libnvrtc on the library path",
                cause);
    }

    /** The compiler's version; NVRTC must be loaded, here and below. */
    static String version() {
        int[] major = new int[1];
        int[] minor = new int[1];
        Cuda.checkNvrtc(nvrtc.nvrtcVersion(major, minor), "nvrtcVersion");
        return major[0] + "." + minor[0];
    }

    /**
     * Compiles a module to a cubin.
     *
     * @throws KernelsUnavailableException if NVRTC refuses the source or an option
     */
    static byte[] compile(KernelModule module) {
        long start = System.nanoTime();
        String file = module.file().fileName();
        Map<String, String> headers = KernelFile.headers();
        List<String> options = module.options();
        try (PointerScope scope = new PointerScope()) {
            _nvrtcProgram program = new _nvrtcProgram();
            Cuda.checkNvrtc(
                    nvrtc.nvrtcCreateProgram(
                            program,
                            new BytePointer(module.file().source()),
                            new BytePointer(file),
                            headers.size(),
                            new PointerPointer<BytePointer>(headers.values().toArray(String[]::new)),
                            new PointerPointer<BytePointer>(headers.keySet().toArray(String[]::new))),
                    "nvrtcCreateProgram of " + file);
            try {
                int result = nvrtc.nvrtcCompileProgram(
                        program, options.size(), new PointerPointer<BytePointer>(options.toArray(String[]::new)));
                if (result == nvrtc.NVRTC_ERROR_INVALID_OPTION) {
                    throw new KernelsUnavailableException("NVRTC " + version() + " does not compile " + file + " for "
                            + options.get(0).substring("-arch=".length()) + ": "
                            + log(program));
                }
                if (result != nvrtc.NVRTC_SUCCESS) {
                    throw new KernelsUnavailableException(file + " could not be compiled: " + log(program));
                }
                SizeTPointer size = new SizeTPointer(1);
                Cuda.checkNvrtc(nvrtc.nvrtcGetCUBINSize(program, size), "nvrtcGetCUBINSize");
                byte[] code = new byte[(int) size.get()];
                Cuda.checkNvrtc(nvrtc.nvrtcGetCUBIN(program, code), "nvrtcGetCUBIN");
                LOG.info("compiled {} in {} ms", module.name(), (System.nanoTime() - start) / 1_000_000);
                return code;
            } finally {
                nvrtc.nvrtcDestroyProgram(program);
            }
        }
    }

    private static String log(_nvrtcProgram program) {
        SizeTPointer size = new SizeTPointer(1);
        nvrtc.nvrtcGetProgramLogSize(program, size);
        BytePointer log = new BytePointer(size.get());
        nvrtc.nvrtcGetProgramLog(program, log);
        return log.getString().replace("\0", "").strip();
    }
}
