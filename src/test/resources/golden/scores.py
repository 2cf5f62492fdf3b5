"""Scores of texts as Hugging Face transformers computes them, for ScoreIT: run in the project's root, writes scores.json.

Made with Python 3, transformers, torch (CPU), tokenizers; the versions are in the file. The random checkpoint is written
by this script from a seed; ScoreIT reads it from golden/random.
"""
import json, math
import tokenizers, torch, transformers
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel

torch.set_grad_enabled(False)
torch.set_num_threads(1)
ROOT = "src/test/resources/golden"
PROSE = open("src/test/resources/prose.txt", encoding="utf-8").read()
TALES = PROSE * 6


def encode(text):
    return bpe.encode(text).ids


def rows(model, ids):
    return torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)


def scored(logp, target, top=5):
    p = logp.exp()
    entropy = -(p * logp).sum()
    variance = (p * logp * logp).sum() - entropy * entropy
    values, indices = logp.topk(top)
    return {
        "logprob": logp[target].item(),
        "rank": int((logp > logp[target]).sum()) + 1,
        "entropy": entropy.item(),
        "variance": variance.item(),
        "top": [[i, v] for i, v in zip(indices.tolist(), values.tolist())],
    }


def score(model, ids):
    logp = rows(model, ids)
    return [scored(logp[i], ids[i + 1]) for i in range(len(ids) - 1)]


def sliding(model, ids, stride, length):
    """The guide's loop: https://huggingface.co/docs/transformers/perplexity"""
    total, count, previous_end = 0.0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + length, len(ids))
        targets = end - previous_end
        window = ids[begin:end]
        labels = list(window)
        labels[:-targets] = [-100] * (len(window) - targets)
        logp = rows(model, window)
        for i in range(1, len(window)):
            if labels[i] != -100:
                total += logp[i - 1][labels[i]].item()
                count += 1
        previous_end = end
        if end == len(ids):
            break
    return {"stride": stride, "sum": total, "scoredTokens": count, "perplexity": math.exp(-total / count)}


def continuation(model, prompt, rest):
    """lm_eval.api.model.TemplateLM._encode_pair and the sums of its loglikelihood."""
    spaces = len(prompt) - len(prompt.rstrip())
    if spaces > 0:
        rest = prompt[-spaces:] + rest
        prompt = prompt[:-spaces]
    if prompt == "":
        context, together = [50256], [50256] + encode(rest)
    else:
        context, together = encode(prompt), encode(prompt + rest)
    logp = rows(model, together[:-1])
    targets = together[len(context):]
    sums = [logp[len(context) - 1 + i][t].item() for i, t in enumerate(targets)]
    greedy = all(logp[len(context) - 1 + i].argmax().item() == t for i, t in enumerate(targets))
    return {"tokenIds": targets, "sum": sum(sums), "isGreedy": greedy}


bpe = ByteLevelBPETokenizer("tokenizer/vocab.json", "tokenizer/merges.txt")
tales = GPT2LMHeadModel.from_pretrained("models/tales", torch_dtype=torch.float32).eval()
ids = encode(TALES)

# How probable it is that a word begins, or the text ends: Pimentel and Meister's correction.
starts = torch.tensor([i == 50256 or bpe.decode([i])[:1].isspace() and bpe.decode([i])[:1] in " \t\n\v\f\r"
                       for i in range(50257)])


def words(model, text):
    own = encode(text)
    logp = rows(model, own + [0])  # after the text too
    begin = [None] + [logp[i][starts].logsumexp(-1).item() for i in range(len(own))]
    result, first = [], 0
    for end in range(1, len(own) + 1):
        if end == len(own) or starts[own[end]]:
            if bpe.decode(own[first:end]).strip():
                if first > 0:
                    total = sum(logp[i - 1][own[i]].item() for i in range(first, end))
                    fix = begin[end] - (begin[first] if starts[own[first]] else 0)
                    result.append([bpe.decode(own[first:end]).strip(), total, total + fix])
                first = end
    return result


torch.manual_seed(16)
config = GPT2Config(vocab_size=97, n_positions=48, n_embd=32, n_layer=3, n_head=4, initializer_range=0.3)
random_model = GPT2LMHeadModel(config).eval()
random_model.save_pretrained(ROOT + "/random")
generator = torch.Generator().manual_seed(17)
random_ids = torch.randint(0, 97, (200,), generator=generator).tolist()

PAIRS = [("Once upon a time", ", and then"), ("Once upon a time ", "there was"), ("The King said", " to the Queen"), ("", "Once")]
result = {
    "versions": f"transformers {transformers.__version__}, torch {torch.__version__}, tokenizers {tokenizers.__version__}",
    "tales": {"ids": ids[:150], "scores": score(tales, ids[:150])},
    "sliding": [sliding(tales, ids, s, 1024) for s in (512, 1024, 700)],
    "continuations": [dict(continuation(tales, *pair), prompt=pair[0], continuation=pair[1]) for pair in PAIRS],
    "words": {"text": PROSE[:600], "words": words(tales, PROSE[:600])},
    "random": {"ids": random_ids[:48], "scores": score(random_model, random_ids[:48]),
               "allIds": random_ids, "sliding": [sliding(random_model, random_ids, s, 48) for s in (1, 7, 24, 48)]},
}


def rounded(x):
    if isinstance(x, float):
        return float(f"{x:.7g}")
    if isinstance(x, list):
        return [rounded(y) for y in x]
    return {k: rounded(y) for k, y in x.items()} if isinstance(x, dict) else x


json.dump(rounded(result), open(ROOT + "/scores.json", "w"), separators=(",", ":"))
