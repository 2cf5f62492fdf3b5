"""Makes the checkpoints in this directory, and the logits that they must give.

Run with torch 2.15.0, transformers 5.24.0, safetensors 0.8.0, numpy 2.4.6 and Python 3.11:

    python make.py

Everything is drawn from fixed seeds; a second run gives the same tensors (zip archives differ in an id).
Every directory is a model. `expected.json` maps each directory to the logits after PROMPT, by transformers'
GPT2LMHeadModel in float64, or by nanoGPT's model (restated below) for `nanogpt*`.
"""
import collections
import json
import os

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

os.chdir(os.path.dirname(os.path.abspath(__file__)))
PROMPT = [1, 2, 3, 5, 8]
SIZES = dict(vocab_size=43, n_positions=12, n_embd=8, n_layer=2, n_head=2)
expected = {}


def draw(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3 + (1 if "ln_" in name and p.dim() == 1 and "weight" in name else 0))
    return model


def gpt2(seed=1, **options):
    config = GPT2Config(**{**SIZES, "bos_token_id": None, "eos_token_id": None, **options})
    return draw(GPT2LMHeadModel(config), seed)


def logits(model):
    with torch.no_grad():
        out = model.double().eval()(torch.tensor([PROMPT]))
    return (out.logits if hasattr(out, "logits") else out)[0, -1].tolist()


def write(directory, model, config=None):
    os.makedirs(directory, exist_ok=True)
    if config is None:
        config = {"model_type": "gpt2", "activation_function": model.config.activation_function, "eos_token_id": None, **SIZES}
    with open(directory + "/config.json", "w") as f:
        json.dump(config, f)


# Activations: the same weights with every name that is supported.
reference = gpt2().state_dict()
for name in ["gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu", "gelu_python", "relu", "quick_gelu",
             "silu", "swish", "tanh"]:
    model = gpt2(activation_function=name)
    expected["activation/" + name] = logits(model)
model = gpt2()
write("activation", model)
save_file({k: v.clone() for k, v in reference.items() if k != "lm_head.weight"}, "activation/model.safetensors", metadata={"format": "pt"})

# pytorch_model.bin: the same weights in every form that torch.save and its users give them.
state = model.float().state_dict()  # OrderedDict with _metadata, lm_head and wte share a storage


def bin(directory, value, dtype=None, **options):
    saved = gpt2()
    if dtype:
        saved = saved.to(dtype)
    write(directory, saved)
    torch.save(value, directory + "/pytorch_model.bin", **options)
    expected[directory] = logits(saved)


bin("zip", state)
bin("legacy", state, _use_new_zipfile_serialization=False)
bin("protocol4", state, pickle_protocol=4)
bin("parameter", collections.OrderedDict((k, nn.Parameter(v)) for k, v in state.items()))
bin("nested", {"state_dict": {"module._orig_mod." + k: v for k, v in state.items()}, "epoch": 3, "lr": 1e-4, "args": ["a", None, True, 2**70]})
bin("strided", {k: (v.t().contiguous().t() if v.dim() == 2 else torch.stack([v, v], 1)[:, 1]) for k, v in state.items() if k != "lm_head.weight"})
flat = torch.cat([v.reshape(-1) for k, v in state.items() if k != "lm_head.weight"])
shared, at = {}, 0
for k, v in state.items():
    if k != "lm_head.weight":
        shared[k] = flat[at:at + v.numel()].view(v.shape)
        at += v.numel()
bin("shared", shared)
bin("f16", {k: v.half() for k, v in state.items()}, torch.float16)
bin("bf16", {k: v.bfloat16() for k, v in state.items()}, torch.bfloat16)
bin("f64", {k: v.double() for k, v in state.items()})
untied = dict(state, **{"lm_head.weight": torch.randn(43, 8, generator=torch.Generator().manual_seed(7))})
bin("untied", untied)
with torch.no_grad():
    model = gpt2(tie_word_embeddings=False).float()
    model.load_state_dict(untied)
    expected["untied"] = logits(model)
bin("onlyhead", {k: v for k, v in state.items() if k != "transformer.wte.weight"})
masks = {f"transformer.h.{i}.attn.bias": torch.tril(torch.ones(12, 12, dtype=torch.uint8)).view(1, 1, 12, 12) for i in range(2)}
masks.update({f"transformer.h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(2)})
bin("masks", {**state, **masks, "inv": torch.arange(3), "flag": torch.ones(2, dtype=torch.bool)})
pad = torch.cat([state["transformer.wte.weight"], torch.full((5, 8), 9.0)])
bin("padded", {**state, "transformer.wte.weight": pad, "lm_head.weight": pad})
nobias = {k: v for k, v in state.items() if not k.endswith(".bias")}
bin("nobias", nobias)
model = gpt2()
with torch.no_grad():
    for k, p in model.named_parameters():
        if k.endswith(".bias"):
            p.zero_()
expected["nobias"] = logits(model)
write("sharded", gpt2())
names = [k for k in state if k != "lm_head.weight"]
shards = {f"pytorch_model-{i + 1:05}-of-00002.bin": names[i::2] for i in range(2)}
for file, keys in shards.items():
    torch.save({k: state[k].clone() for k in keys}, "sharded/" + file)
with open("sharded/pytorch_model.bin.index.json", "w") as f:
    json.dump({"metadata": {"total_size": 1}, "weight_map": {k: file for file, keys in shards.items() for k in keys}}, f)
expected["sharded"] = logits(gpt2())


# nanoGPT's model.py, https://github.com/karpathy/nanoGPT (MIT), with its names and nothing but the forward pass.
class LayerNorm(nn.Module):
    def __init__(self, ndim, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(ndim))
        self.bias = nn.Parameter(torch.zeros(ndim)) if bias else None

    def forward(self, x):
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Attention(nn.Module):
    def __init__(self, c, h, bias):
        super().__init__()
        self.c_attn, self.c_proj, self.h = nn.Linear(c, 3 * c, bias=bias), nn.Linear(c, c, bias=bias), h

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.h, c // self.h).transpose(1, 2) for y in self.c_attn(x).split(c, dim=2))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(b, t, c))


class Mlp(nn.Module):
    def __init__(self, c, bias):
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(c, 4 * c, bias=bias), nn.Linear(4 * c, c, bias=bias)

    def forward(self, x):
        return self.c_proj(nn.functional.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, c, h, bias):
        super().__init__()
        self.ln_1, self.attn, self.ln_2, self.mlp = LayerNorm(c, bias), Attention(c, h, bias), LayerNorm(c, bias), Mlp(c, bias)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGpt(nn.Module):
    def __init__(self, vocab_size, block_size, n_layer, n_head, n_embd, bias, dropout):
        super().__init__()
        self.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(vocab_size, n_embd), wpe=nn.Embedding(block_size, n_embd),
            h=nn.ModuleList([Block(n_embd, n_head, bias) for _ in range(n_layer)]), ln_f=LayerNorm(n_embd, bias)))
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.transformer.wte.weight = self.lm_head.weight

    def forward(self, ids):
        x = self.transformer.wte(ids) + self.transformer.wpe(torch.arange(ids.size(1)))
        for block in self.transformer.h:
            x = block(x)
        return self.lm_head(self.transformer.ln_f(x))


for directory, bias, prefix in [("nanogpt", True, ""), ("nanogpt-nobias", False, "_orig_mod.")]:
    args = dict(n_layer=2, n_head=2, n_embd=8, block_size=12, bias=bias, vocab_size=43, dropout=0.0)
    model = draw(NanoGpt(**args), 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.tensor([PROMPT])).sum().backward()
    optimizer.step()
    os.makedirs(directory, exist_ok=True)
    # As train.py writes it.
    torch.save({"model": {prefix + k: v for k, v in model.state_dict().items()}, "optimizer": optimizer.state_dict(), "model_args": args,
                "iter_num": 250, "best_val_loss": torch.tensor(1.5), "config": {"out_dir": "out", "eval_interval": 250, "wandb_log": False}},
               directory + "/ckpt.pt")
    expected[directory] = logits(model)


# What must be refused: a pickle that would run a command when Python loads it.
class Payload:
    def __reduce__(self):
        return os.system, ("touch executed",)


os.makedirs("hostile", exist_ok=True)
torch.save({"x": Payload()}, "hostile/zip.bin")
torch.save({"x": Payload()}, "hostile/legacy.bin", _use_new_zipfile_serialization=False)

with open("expected.json", "w") as f:
    f.write("{\n" + ",\n".join(f'  {json.dumps(k)}: {json.dumps([round(x, 9) for x in v])}' for k, v in expected.items()) + "\n}\n")
