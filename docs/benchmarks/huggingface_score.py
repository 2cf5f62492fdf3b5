#!/usr/bin/env python3
"""Hugging Face's log-probabilities of texts by a GPT-2 with random weights, to compare with `bench score`.

    pip install torch transformers
    python docs/benchmarks/huggingface_score.py --device cuda --dtype float16 --texts 32 --length 512

Scores all texts in batches of several sizes: the model's logits, log_softmax in float32, and gather; the scores end in
host memory. Prints tokens a second for each batch size, the best of some runs, with and without torch.compile.
"""
import argparse
import time

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

options = argparse.ArgumentParser()
options.add_argument("--device", default="cpu")
options.add_argument("--dtype", default="float32")
options.add_argument("--texts", type=int, default=32)
options.add_argument("--length", type=int, default=512)
options.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
options.add_argument("--runs", type=int, default=5)
options.add_argument("--compile", action="store_true", help="also measure the model after torch.compile")
options = options.parse_args()

torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config()).eval().to(options.device, getattr(torch, options.dtype))
texts = torch.randint(0, 50257, (options.texts, options.length), device=options.device)
print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads, {vars(options)}")


def score(forward, batch):
    logits = forward(batch).logits[:, :-1]
    return torch.log_softmax(logits.float(), -1).gather(-1, batch[:, 1:, None])[..., 0].cpu()


def measure(name, forward):
    for size in options.batch_sizes:
        best = float("inf")
        for run in range(options.runs + 2):  # the first two warm up
            start = time.perf_counter()
            for first in range(0, options.texts, size):
                score(forward, texts[first:first + size])
            if run >= 2:
                best = min(best, time.perf_counter() - start)
        print(f"{name}, batch {size}: {options.texts * options.length / best:.0f} tokens/s, {1e3 * best:.2f} ms", flush=True)


with torch.inference_mode():
    measure("eager", model)
    if options.compile:
        measure("compiled", torch.compile(model))
