#!/usr/bin/env python3
"""Makes a GPT-2 with random weights (124M parameters) for Loomtorch and its peers: python convert.py FOLDER TOKENIZER

TOKENIZER is a folder with vocab.json and merges.txt. Writes FOLDER/hf, FOLDER/ct2-float32, FOLDER/ct2-int8, FOLDER/gpt2-f16.gguf and
FOLDER/gpt2-q8_0.gguf. Needs torch, transformers, ctranslate2 and gguf.
"""
import shutil
import sys

import ctranslate2
import gguf
import numpy
import torch
import transformers

folder, tokenizer = sys.argv[1:]
torch.manual_seed(0)
model = transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval()
model.save_pretrained(f"{folder}/hf")
for name in ("vocab.json", "merges.txt"):
    shutil.copy(f"{tokenizer}/{name}", f"{folder}/hf")

for dtype in ("float32", "int8"):
    converter = ctranslate2.converters.TransformersConverter(f"{folder}/hf")
    converter.convert(f"{folder}/ct2-{dtype}", quantization=None if dtype == "float32" else dtype, force=True)

weights = {name.removeprefix("transformer."): value.detach().numpy() for name, value in model.state_dict().items()}
PARTS = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def write_gguf(name, file_type, quantization):
    """llama.cpp needs a vocabulary, but no text is tokenized: 256 bytes and fillers."""
    out = gguf.GGUFWriter(f"{folder}/gpt2-{name}.gguf", "gpt2")
    out.add_block_count(12)
    out.add_context_length(1024)
    out.add_embedding_length(768)
    out.add_feed_forward_length(3072)
    out.add_head_count(12)
    out.add_layer_norm_eps(1e-5)
    out.add_file_type(file_type)
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = iter(range(256, 512))
    bytes_as_text = [chr(byte if byte in visible else next(other)) for byte in range(256)]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(bytes_as_text + [f"<{i}>" for i in range(50000)] + ["<|endoftext|>"])
    out.add_token_types([1] * 50256 + [3])
    out.add_token_merges([bytes_as_text[0] + " " + bytes_as_text[1]])
    out.add_bos_token_id(50256)
    out.add_eos_token_id(50256)

    def add(target, value, matrix=True):
        value = numpy.ascontiguousarray(value, dtype=numpy.float32)
        if matrix and quantization is not None:
            out.add_tensor(target, gguf.quants.quantize(value, quantization), raw_dtype=quantization)
        else:
            out.add_tensor(target, value.astype(numpy.float16) if matrix else value)

    add("token_embd.weight", weights["wte.weight"])
    add("output.weight", weights["wte.weight"])
    add("position_embd.weight", weights["wpe.weight"], matrix=False)
    for layer in range(12):
        for source, target in PARTS.items():
            weight = weights[f"h.{layer}.{source}.weight"]
            add(f"blk.{layer}.{target}.weight", weight.T, matrix=weight.ndim == 2)
            add(f"blk.{layer}.{target}.bias", weights[f"h.{layer}.{source}.bias"], matrix=False)
    for kind in ("weight", "bias"):
        add(f"output_norm.{kind}", weights[f"ln_f.{kind}"], matrix=False)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


write_gguf("f16", gguf.LlamaFileType.MOSTLY_F16, None)
write_gguf("q8_0", gguf.LlamaFileType.MOSTLY_Q8_0, gguf.GGMLQuantizationType.Q8_0)
