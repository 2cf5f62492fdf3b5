#!/usr/bin/env python3
"""Hugging Face's generate on a GPT-2 with random weights, to compare with `bench latency` and `bench naive`.

    pip install torch transformers
    python docs/benchmarks/huggingface.py --device cpu --dtype float32 --batch-size 1 --input-len 12 --output-len 64

Prints one line per run: output tokens a second of the whole batch, prefill included.
"""
import argparse
import time

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

options = argparse.ArgumentParser()
options.add_argument("--device", default="cpu")
options.add_argument("--dtype", default="float32")
options.add_argument("--batch-size", type=int, default=1)
options.add_argument("--input-len", type=int, default=12)
options.add_argument("--output-len", type=int, default=64)
options.add_argument("--runs", type=int, default=3)
options.add_argument("--sampling", action="store_true", help="temperature 0.7, top-k 50, top-p 0.95 instead of greedy")
options = options.parse_args()

torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config()).eval().to(options.device, getattr(torch, options.dtype))
prompt = torch.randint(0, 50257, (options.batch_size, options.input_len), device=options.device)
how = dict(do_sample=True, temperature=0.7, top_k=50, top_p=0.95) if options.sampling else dict(do_sample=False)
print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads, {vars(options)}")
with torch.inference_mode():
    for run in range(options.runs + 1):
        start = time.perf_counter()
        model.generate(prompt, attention_mask=torch.ones_like(prompt), min_new_tokens=options.output_len,
                       max_new_tokens=options.output_len, pad_token_id=50256, **how)
        if options.device != "cpu":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        if run > 0:  # the first one warms up
            print(f"{options.batch_size * options.output_len / seconds:.1f} tokens/s", flush=True)
