#!/usr/bin/env python3
"""Loomtorch and its peers on one CPU: runs of all engines in turn, the median of each, and ratios. README.md says how to set it up.

    python compare.py --folder F --threads 2 --rounds 5 --engines lt-float32,hf-float32,ct2-float32 --cases 1x12x64,8x12x32,1x512x1

An engine is a long-lived process; one of them runs at a time. A case is REQUESTSxPROMPT_TOKENSxOUTPUT_TOKENS, greedy, with random
tokens; more than 16 requests run 16 at once. Prints tokens a second (milliseconds for a case of one output token), the ratio to the
first engine, and the processor time of the process in the 0.3 seconds after the run.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
options = argparse.ArgumentParser()
options.add_argument("--folder", required=True, help="what convert.py made")
options.add_argument("--class-path", help="of Loomtorch: loomtorch.jar and lib/*")
options.add_argument("--java", default="java")
options.add_argument("--python", default=sys.executable)
options.add_argument("--threads", type=int, required=True)
options.add_argument("--rounds", type=int, default=5)
options.add_argument("--seconds", type=float, default=1e9, help="stop after this time, with what has been measured")
options.add_argument("--engines", default="lt-float32,lt-int8,hf-float32,ct2-float32,ct2-int8,llama-f16,llama-q8_0")
options.add_argument("--cases", default="1x12x64,8x12x32,1x512x1,64x64x64")
options = options.parse_args()
deadline = time.time() + options.seconds
threads = str(options.threads)


def start(engine):
    name, kind = engine.split("-", 1)
    command = {
        "lt": [options.java, "--enable-native-access=ALL-UNNAMED", "-cp", f"{options.class_path}:{options.folder}", "Loomtorch",
               f"{options.folder}/hf", kind],
        "hf": [options.python, f"{here}/peer.py", options.folder, engine, threads],
        "ct2": [options.python, f"{here}/peer.py", options.folder, engine, threads],
        "llama": [f"{options.folder}/llama", f"{options.folder}/gpt2-{kind}.gguf", threads],
    }[name]
    environment = dict(os.environ, OMP_NUM_THREADS=threads, CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    for line in process.stdout:
        if line.startswith("ready"):
            return process
    print(f"{engine} did not start: {' '.join(command)}", flush=True)
    return None


processes = {engine: start(engine) for engine in options.engines.split(",")}
processes = {engine: process for engine, process in processes.items() if process}
cases = options.cases.split(",")
results = {(case, engine): [] for case in cases for engine in processes}
for _ in range(options.rounds):
    for case in cases:
        for engine, process in processes.items():
            if time.time() < deadline:
                process.stdin.write(case.replace("x", " ") + "\n")
                process.stdin.flush()
                results[case, engine].append(json.loads(process.stdout.readline()))

for case in cases:
    requests, _, output = map(int, case.split("x"))
    base = None
    for engine in processes:
        runs = results[case, engine]
        if not runs:
            continue
        seconds = statistics.median(run["first" if output == 1 else "seconds"] for run in runs)
        base = base or seconds
        idle = statistics.median(run["idle_cpu"] for run in runs)
        value = f"{1e3 * seconds:9.0f} ms   " if output == 1 else f"{requests * output / seconds:9.1f} tok/s"
        print(f"{case:10} {engine:14} {value}  {base / seconds:5.2f}  idle {1e3 * idle:4.0f} ms  runs {len(runs)}", flush=True)
for process in processes.values():
    process.stdin.close()
    process.wait()
