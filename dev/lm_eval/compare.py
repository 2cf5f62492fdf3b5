#!/usr/bin/env python3
"""Runs EleutherAI's harness on the same checkpoints through its own `hf` model and through `loomtorch serve`, and compares.

    pip install torch "lm_eval[hf,api]"
    mvn package && python dev/lm_eval/compare.py

Two tasks are made of texts of the repository: `cloze` asks which of four halves ends a sentence (accuracy, and accuracy by bytes),
`rolling` measures perplexity by word and byte and bits per byte, also of a text longer than the context. The checkpoints are the
embedded model and one with random weights. Both sides compute in float32 on the CPU. Fails if a number differs by more than 1e-4
of itself.
"""
import argparse
import json
import logging
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXTS = [ROOT / "LICENSE", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/benchmarks/texts").glob("*.txt"))]
WINDOW = 1022  # of a local-completions model with max_length 1024: one token for its own, one that the harness puts in front

options = argparse.ArgumentParser()
options.add_argument("--serve", default=f"java -jar {ROOT}/target/loomtorch.jar serve", help="command that serves")
options.add_argument("--port", type=int, default=8765)
options = options.parse_args()

import lm_eval  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

logging.disable(logging.WARNING)


def sentences():
    for path in TEXTS:
        for sentence in re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", path.read_text())):
            words = sentence.split(" ")
            if 8 <= len(words) <= 40:
                half = len(words) // 2
                yield " ".join(words[:half]), " ".join(words[half:])


def write_tasks(folder):
    dice = random.Random(1)
    halves = dice.sample(list(sentences()), 50)
    with open(folder / "cloze.jsonl", "w") as out:
        for begin, end in halves:
            choices = [end] + dice.sample([other for _, other in halves if other != end], 3)
            dice.shuffle(choices)
            out.write(json.dumps({"begin": begin, "choices": choices, "answer": choices.index(end)}) + "\n")
    with open(folder / "rolling.jsonl", "w") as out:
        for path in TEXTS[::3]:
            text = path.read_text()[:6000]
            out.write(json.dumps({"text": text}) + "\n")
    (folder / "cloze.yaml").write_text(f"""
task: cloze
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/cloze.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{begin}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
""")
    (folder / "rolling.yaml").write_text(f"""
task: rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/rolling.jsonl}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: word_perplexity}}, {{metric: byte_perplexity}}, {{metric: bits_per_byte}}]
""")


def add_tokenizer(model):
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(ROOT / "tokenizer" / file, model)
    (model / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
         "unk_token": "<|endoftext|>", "model_max_length": 1024}))


def checkpoints(folder):
    tales = folder / "tales"
    tales.mkdir()
    for file in ("config.json", "model.safetensors"):
        shutil.copy(ROOT / "models/tales" / file, tales)
    torch.manual_seed(1)
    config = transformers.GPT2Config(n_embd=96, n_layer=3, n_head=3, initializer_range=0.1)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder / "random")
    for model in (tales, folder / "random"):
        add_tokenizer(model)
        yield model


def numbers(results):
    return {f"{task} {metric.split(',')[0]}": value
            for task, metrics in results["results"].items() for metric, value in metrics.items()
            if isinstance(value, float) and "stderr" not in metric}


def evaluate(tasks, kind, **arguments):
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    return numbers(lm_eval.simple_evaluate(
        model=kind, model_args=arguments, tasks=["cloze", "rolling"], task_manager=manager, bootstrap_iters=0, log_samples=False))


def served(tasks, model):
    url = f"http://127.0.0.1:{options.port}"
    server = subprocess.Popen([*options.serve.split(), "--model", str(model), "--device", "cpu", "--dtype", "float32",
                               "--port", str(options.port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(url + "/ready").read()
                break
            except OSError:
                time.sleep(0.1)
        return evaluate(tasks, "local-completions", model=model.name, tokenizer=str(model), tokenizer_backend="huggingface",
                        base_url=url + "/v1/completions", batch_size=8, max_length=1024)
    finally:
        server.terminate()
        server.wait()


worst = 0
print(f"lm_eval {lm_eval.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    write_tasks(folder)
    for model in checkpoints(folder):
        expected = evaluate(folder, "hf", pretrained=str(model), dtype="float32", device="cpu", batch_size=4, max_length=WINDOW)
        got = served(folder, model)
        print(f"\n{model.name:24} {'hf':>16} {'loomtorch':>16} {'difference':>12}")
        for name, value in expected.items():
            difference = abs(got[name] - value) / abs(value)
            worst = max(worst, difference)
            print(f"{name:24} {value:16.6f} {got[name]:16.6f} {difference:12.1e}")
print(f"\nlargest difference {worst:.1e}")
sys.exit(0 if worst <= 1e-4 else 1)
