"""The worker of compare.py for Hugging Face and CTranslate2: arguments FOLDER KIND THREADS."""
import json
import sys
import time

import numpy

folder, kind, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
random = numpy.random.default_rng(0)
engine, dtype = kind.split("-")

if engine == "hf":
    import torch
    from transformers import GPT2LMHeadModel, StoppingCriteria, StoppingCriteriaList

    torch.set_num_threads(threads)
    model = GPT2LMHeadModel.from_pretrained(f"{folder}/hf", dtype=getattr(torch, dtype)).eval()

    class Clock(StoppingCriteria):
        first = 0

        def __call__(self, ids, scores, **_):
            self.first = self.first or time.perf_counter()
            return torch.zeros(ids.shape[0], dtype=torch.bool)

    def batch(prompts, output):
        clock = Clock()
        prompts = torch.from_numpy(prompts)
        with torch.inference_mode():
            model.generate(
                prompts, attention_mask=torch.ones_like(prompts), min_new_tokens=output, max_new_tokens=output,
                pad_token_id=50256, do_sample=False, stopping_criteria=StoppingCriteriaList([clock]))
        return clock.first

    def run(requests, prompt, output):
        size = min(requests, 16)  # Hugging Face's best batch of 64 requests on two cores, too
        return [batch(random.integers(0, 50256, (size, prompt)), output) for _ in range(requests // size)][0]

else:
    import ctranslate2

    model = ctranslate2.Generator(f"{folder}/ct2-{dtype}", device="cpu", compute_type=dtype, intra_threads=threads, inter_threads=1)
    tokens = list(json.load(open(f"{folder}/hf/vocab.json")))

    def run(requests, prompt, output):
        first = []
        watch = dict(callback=lambda _: first.append(time.perf_counter()) is not None) if requests == 1 else {}
        prompts = [[tokens[i] for i in random.integers(0, 50256, prompt)] for _ in range(requests)]
        results = model.generate_batch(
            prompts, max_length=output, min_length=output, sampling_topk=1, include_prompt_in_result=False,
            max_batch_size=16, **watch)
        assert all(len(result.sequences_ids[0]) == output for result in results)
        return first[0] if first else time.perf_counter()

run(1, 12, 4)
print("ready", flush=True)
for line in sys.stdin:
    cpu, start = time.process_time(), time.perf_counter()
    first = run(*map(int, line.split()))
    end, busy = time.perf_counter(), time.process_time()
    time.sleep(0.3)
    print(json.dumps(dict(seconds=end - start, first=first - start, cpu=busy - cpu, idle_cpu=time.process_time() - busy)), flush=True)
