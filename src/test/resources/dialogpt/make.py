"""Makes a tiny model in the layout of microsoft/DialoGPT, and the chat that it must give.

Run with torch 2.15.0, transformers 5.24.0, tokenizers 0.23.3 and Python 3.11:

    python make.py

The files are those of DialoGPT: weights as pytorch_model.bin only, and vocab.json and merges.txt. The weights are drawn
from a fixed seed. `expected.json` has the turns of a chat by transformers, as DialoGPT's model card chats: every turn
ends with the end-of-text token, and the model continues all turns so far, here with the most probable tokens.
"""
import json
import os

import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

os.chdir(os.path.dirname(os.path.abspath(__file__)))
MERGES = ["h e", "l l", "he ll", "hell o", "o u", "\u0120 y", "\u0120y ou", "e r", "\u0120 a", "i n"]


def bytes_to_symbols():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


symbols = bytes_to_symbols() + [merge.replace(" ", "") for merge in MERGES] + ["<|endoftext|>"]
with open("vocab.json", "w") as f:
    json.dump({symbol: i for i, symbol in enumerate(symbols)}, f)
with open("merges.txt", "w") as f:
    f.write("#version: 0.2\n" + "\n".join(MERGES) + "\n")
end = len(symbols) - 1
config = GPT2Config(vocab_size=len(symbols), n_positions=64, n_embd=8, n_layer=2, n_head=2, bos_token_id=end, eos_token_id=end)
model = GPT2LMHeadModel(config).eval()
generator = torch.Generator().manual_seed(117)
with torch.no_grad():
    for name, p in model.named_parameters():
        p.copy_(torch.randn(p.shape, generator=generator) * 0.5 + (1 if "ln_" in name and "weight" in name else 0))
    model.transformer.wte.weight[[i for i in range(end) if not symbols[i].isascii()]] *= 0.1  # readable replies
    model.transformer.wte.weight[end] *= 1.5  # that end
config.save_pretrained(".")
with open("generation_config.json", "w") as f:
    json.dump({"_from_model_config": True, "bos_token_id": end, "eos_token_id": end}, f)
torch.save(model.state_dict(), "pytorch_model.bin")

tokenizer = GPT2Tokenizer("vocab.json", "merges.txt")
history = torch.zeros(1, 0, dtype=torch.long)
turns = []
for text in ["hello you", "hell in here"]:
    prompt = torch.cat([history, tokenizer.encode(text + tokenizer.eos_token, return_tensors="pt")], dim=-1)
    history = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False, pad_token_id=end)
    reply = history[0, prompt.shape[-1]:].tolist()
    turns.append({"text": text, "prompt_ids": prompt[0].tolist(), "reply_ids": reply,
                  "reply": tokenizer.decode(reply, skip_special_tokens=True)})
with open("expected.json", "w") as f:
    json.dump(turns, f, indent=1)
