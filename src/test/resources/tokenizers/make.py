"""Makes one folder for each kind of tokenizer, with the files and what Hugging Face makes of hard texts.

python make.py   # in this folder; see README.md for versions
"""

import copy
import json
import os
import shutil
import sys

import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Tokenizer

transformers.logging.set_verbosity_error()
HERE = os.path.dirname(os.path.abspath(__file__))
EOT = "<|endoftext|>"
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

TEXTS = [
    "", " ", "   ", "\n", "Hello", " Hello", "Hello, world!", "  two  spaces   three ", "the their there",
    "line\r\nline\r\n\r\nline\n", "\ttab\t\ttabs \t mixed", "\n\n a\n b\n\n\n", "I'm you're he's we've they'll I'd don't",
    "I'M HE'S 'tis ' s ''s'", "a\u00a0\u00a0b \u00a0 c", "x = 1 + 22 - 333.44", "e\u0301 n\u0303o A\u030a\u0301 \u00e9 \u1e9b\u0323",
    "\ufb01 \u2460 \u00bd \uff21\uff22 \u212b \u2126", "na\u00efve fa\u00e7ade Gr\u00f6\u00dfe \u0141\u00f3d\u017a STRASSE \u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3 \u0130I",
    "\u4e16\u754c\u4f60\u597d,\u8fd9\u662f\u3002", "\u65e5\u672c\u8a9e\u3000\u5168\u89d2", "\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u0644\u0639\u0631\u0628",
    "\u0000\u0001\u001b\u001c\u001f\u007f\u0085\u00ad\u200b\ufeff", "a" * 70, "the " * 40, "!" * 20 + "?!" * 20, "=-" * 50 + " " * 90 + "x",
    EOT, "a" + EOT + "b", " " + EOT + "  " + EOT + "\n", "<|endoftext|", "he<|endoftext|>the<|user|>x<|pad|> end",
    "<|user|> hi <|user|>", "x  <a>  y", "x<a>y", "<b> \t z", "w <b>", "covid19 Covid19 xcovid19 covid19x covid19.", "COVID19 \u00e9covid19 covid19_",
    "<c><c> <c> a<c>", "word words sword word", "<ab>c <abc> <abcd>", "a<|user|>covid19<|user|>", "\u65e5\u672c<\u65e5\u672c>\u65e5", "Z! z! !",
]


def tok(id, content, **flags):
    token = dict(id=id, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    token.update(flags)
    return token


def trained():
    """A byte-level BPE of 400 tokens and <|endoftext|>, trained on prose.txt."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    text = open(os.path.join(HERE, "..", "prose.txt"), encoding="utf-8").read()
    t.train_from_iterator([text], trainer)
    model = json.loads(t.to_str())["model"]
    return model["vocab"], model["merges"]


VOCAB, MERGES = trained()
N = len(VOCAB)
SYMBOL = {b: c for b, c in ((ord(" "), "\u0120"), (ord("!"), "!"), (ord("x"), "x"), (0x41, "A"), (0xC3, "\u00c3"), (0xA9, "\u00a9"))}
BYTE_LEVEL = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)


def tokenizer(model=None, **parts):
    j = dict(
        version="1.0", truncation=None, padding=None, added_tokens=[tok(N, EOT)], normalizer=None, pre_tokenizer=BYTE_LEVEL,
        post_processor=None, decoder=dict(BYTE_LEVEL, add_prefix_space=True),
        model=dict(
            type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None, fuse_unk=False,
            byte_fallback=False, vocab=dict(VOCAB), merges=copy.deepcopy(MERGES)))
    j["model"].update(model or {})
    j.update(parts)
    return j


def without(*symbols, **more):
    """A vocabulary that lacks some bytes, and merges without them; freed ids get other tokens."""
    vocab = {}
    for token, id in VOCAB.items():
        vocab["gone%d" % id if any(s in token for s in symbols) else token] = id
    vocab.update(more)
    merges = [m for m in MERGES if not any(s in m[0] + m[1] for s in symbols)]
    return dict(vocab=vocab, merges=merges)


def template(before=(), after=()):
    piece = lambda t: dict(SpecialToken=dict(id=t[0], type_id=0))
    return dict(
        type="TemplateProcessing", single=[*map(piece, before), dict(Sequence=dict(id="A", type_id=0)), *map(piece, after)],
        pair=[dict(Sequence=dict(id="A", type_id=0)), dict(Sequence=dict(id="B", type_id=1))],
        special_tokens={n: dict(id=n, ids=ids, tokens=[n] * len(ids)) for n, ids in [*before, *after]})


def split(pattern=GPT2_PATTERN, behavior="Isolated", invert=False):
    return dict(type="Split", pattern=dict(Regex=pattern), behavior=behavior, invert=invert)


def sequence(*steps):
    return dict(type="Sequence", pretokenizers=list(steps))


FLAGS = [
    tok(N, EOT), tok(N + 1, "<|user|>", lstrip=True, rstrip=True), tok(N + 2, "<a>", special=False, lstrip=True),
    tok(N + 3, "<b>", special=False, rstrip=True), tok(N + 4, "covid19", special=False, normalized=True, single_word=True),
    tok(N + 5, "<c>", special=False, single_word=True), tok(N + 6, "word", special=False, single_word=True, rstrip=True),
    tok(N + 7, "<ab>", special=False), tok(N + 8, "<abc>", special=False, normalized=True), tok(N + 9, "<\u65e5\u672c>", special=False),
    tok(N + 10, "<|pad|>", normalized=True), tok(N + 11, "  ", special=False), tok(N + 12, "!?", special=False, rstrip=True, normalized=True),
]
GAPS = dict(vocab=dict(VOCAB, zq=N + 40, **{EOT: N + 20}))
BYTE_SPECIAL = [tok(N, EOT), tok(VOCAB["!"], "!")]
PRODUCT_SPECIAL = [tok(N, EOT), tok(VOCAB["the"] if "the" in VOCAB else VOCAB["he"], "the" if "the" in VOCAB else "he")]
UNUSED = [chr(c) for c in range(0xF5, 0x100)] + ["\u00c0", "\u00c1"]

JSON_KINDS = {
    "plain": tokenizer(),
    "legacy-merges": tokenizer(model=dict(merges=[" ".join(m) for m in MERGES])),
    "added-flags": tokenizer(added_tokens=FLAGS),
    "added-space": tokenizer(added_tokens=[tok(N, EOT, lstrip=True), tok(N + 1, "\n", special=False, lstrip=True, rstrip=True), tok(N + 2, "  ", special=False, lstrip=True), tok(N + 3, "\t", special=False, rstrip=True)]),
    "added-twice": tokenizer(added_tokens=[tok(N, EOT), tok(N, EOT), tok(N + 1, "<a>", special=False), tok(N + 1, "<a>", special=False, rstrip=True)]),
    "added-empty": tokenizer(added_tokens=[tok(N, EOT), tok(N + 1, "", special=False)]),
    "prefix-space": tokenizer(pre_tokenizer=dict(BYTE_LEVEL, add_prefix_space=True), added_tokens=FLAGS),
    "no-regex": tokenizer(pre_tokenizer=dict(BYTE_LEVEL, use_regex=False)),
    "no-regex-prefix-space": tokenizer(pre_tokenizer=dict(BYTE_LEVEL, use_regex=False, add_prefix_space=True)),
    "sequence-of-one": tokenizer(pre_tokenizer=sequence(sequence(BYTE_LEVEL))),
    "split": tokenizer(pre_tokenizer=sequence(split(), dict(BYTE_LEVEL, use_regex=False))),
    "split-removed": tokenizer(pre_tokenizer=sequence(split(behavior="Removed", invert=True), dict(BYTE_LEVEL, use_regex=False))),
    "split-tiktoken": tokenizer(pre_tokenizer=sequence(split(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"), BYTE_LEVEL)),
    "split-possessive": tokenizer(pre_tokenizer=sequence(split(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"), dict(BYTE_LEVEL, use_regex=False))),
    "split-prefix-space": tokenizer(pre_tokenizer=sequence(split(), dict(BYTE_LEVEL, add_prefix_space=True, use_regex=False))),
    "split-prefix-space-split": tokenizer(pre_tokenizer=sequence(split(), dict(BYTE_LEVEL, add_prefix_space=True))),
    "template": tokenizer(post_processor=template([(EOT, [N])])),
    "template-both": tokenizer(added_tokens=[tok(N, EOT), tok(N + 1, "<s>")], post_processor=dict(type="Sequence", processors=[dict(BYTE_LEVEL), template([("<s>", [N + 1, N])], [(EOT, [N])])])),
    "roberta": tokenizer(added_tokens=[tok(N, EOT), tok(N + 1, "<s>")], post_processor=dict(type="RobertaProcessing", sep=[EOT, N], cls=["<s>", N + 1], trim_offsets=True, add_prefix_space=False)),
    "nfc": tokenizer(normalizer=dict(type="NFC"), added_tokens=FLAGS),
    "nfd": tokenizer(normalizer=dict(type="NFD")),
    "nfkc": tokenizer(normalizer=dict(type="NFKC")),
    "nfkd": tokenizer(normalizer=dict(type="NFKD")),
    "lowercase": tokenizer(normalizer=dict(type="Lowercase"), added_tokens=FLAGS),
    "strip": tokenizer(normalizer=dict(type="Strip", strip_left=True, strip_right=False), added_tokens=FLAGS),
    "prepend": tokenizer(normalizer=dict(type="Prepend", prepend="> "), added_tokens=FLAGS),
    "replace": tokenizer(normalizer=dict(type="Replace", pattern=dict(String="''"), content="\"$1")),
    "replace-regex": tokenizer(normalizer=dict(type="Replace", pattern=dict(Regex=" {2,}"), content=" ")),
    "replace-space": tokenizer(normalizer=dict(type="Replace", pattern=dict(Regex=r"\s+"), content="\u2581")),
    "normalizers": tokenizer(normalizer=dict(type="Sequence", normalizers=[dict(type="NFKC"), dict(type="Lowercase"), dict(type="Strip", strip_left=True, strip_right=True), dict(type="Replace", pattern=dict(String="covid"), content="flu")]), added_tokens=FLAGS),
    "missing-bytes-dropped": tokenizer(model=without("A", "x", "\u00a9", "\u0120")),
    "missing-bytes-unknown": tokenizer(model=dict(without("A", "x", "\u00a9", "\u0120", **{"<unk>": N}), unk_token="<unk>"), added_tokens=[tok(N, "<unk>"), tok(N + 1, EOT)]),
    "missing-bytes-fused": tokenizer(model=dict(without("A", "x", "\u00a9", "\u0120", "!", **{"<unk>": N}), unk_token="<unk>", fuse_unk=True), added_tokens=[tok(N, "<unk>"), tok(N + 1, EOT)]),
    "unused-bytes-missing": tokenizer(model=dict(without(*UNUSED), byte_fallback=True, unk_token="<none>")),
    "ignore-merges": tokenizer(model=dict(vocab=dict(VOCAB, **{"\u0120Hello": N, "Hello": N + 1, EOT: N + 2}), ignore_merges=True), added_tokens=[tok(N + 2, EOT)]),
    "ignore-merges-no-regex": tokenizer(model=dict(vocab=dict(VOCAB, **{"\u0120Hello": N, "Hello": N + 1}), ignore_merges=True), added_tokens=[tok(N + 2, EOT)], pre_tokenizer=dict(BYTE_LEVEL, use_regex=False)),
    "id-gaps": tokenizer(model=GAPS, added_tokens=[tok(N + 20, EOT)]),
    "duplicate-merges": tokenizer(model=dict(merges=MERGES + MERGES[:3] + [MERGES[40]])),
    "special-byte": tokenizer(added_tokens=BYTE_SPECIAL),
    "special-product": tokenizer(added_tokens=PRODUCT_SPECIAL),
    "other-tokens": tokenizer(model=dict(vocab=dict(VOCAB, **{"\u4e16\u754c": N, "": N + 1, EOT: N + 2})), added_tokens=[tok(N + 2, EOT)]),
}

CONFIG = dict(tokenizer_class="GPT2Tokenizer")
PAIR_KINDS = {
    "pair": {},
    "pair-added": {"added_tokens": {"<|pad|>": N + 1, "<|user|>": N + 2, "covid19": N + 3}, "special_tokens_map": dict(bos_token=EOT, eos_token=EOT, pad_token="<|pad|>", extra_special_tokens=["<|user|>"])},
    "pair-added-object": {"added_tokens": {"<|pad|>": N + 1, "<|user|>": N + 2}, "special_tokens_map": dict(eos_token=dict(content="<|user|>", lstrip=True, rstrip=False, normalized=False, single_word=False), pad_token="<|pad|>")},
    "pair-pad": {"special_tokens_map": dict(pad_token=dict(content="<|pad|>", lstrip=True, rstrip=True, normalized=False, single_word=False))},
    "pair-bos": {"tokenizer_config": dict(CONFIG, add_bos_token=True, bos_token=EOT)},
    "pair-bos-eos": {"tokenizer_config": dict(CONFIG, add_bos_token=True, add_eos_token=True, eos_token="<|user|>", unk_token=dict(__type="AddedToken", content=EOT, lstrip=False, rstrip=False, normalized=True, single_word=False))},
    "pair-bos-null": {"tokenizer_config": dict(CONFIG, add_bos_token=True, bos_token=None)},
    "pair-prefix-space": {"tokenizer_config": dict(CONFIG, add_prefix_space=True)},
    "pair-decoder": {"tokenizer_config": dict(CONFIG, tokenizer_class="GPT2TokenizerFast", added_tokens_decoder={str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in FLAGS}), "added_tokens": {"<c>": N + 99}},
}
PAIR_MISSING = without("A", "x", "\u00a9")


def write(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
        if isinstance(value, str):
            out.write(value)
        else:
            json.dump(value, out, ensure_ascii=False, separators=(",", ":"))
            out.write("\n")


def expect(folder, t):
    rows = []
    for text in TEXTS:
        t.encode_special_tokens = True
        plain = t.encode(text).ids
        t.encode_special_tokens = False
        special = t.encode(text).ids
        rows.append(dict(
            text=text, plain=plain, special=special, decoded=t.decode(special, skip_special_tokens=False),
            generated=t.decode(special, skip_special_tokens=True)))
    with open(os.path.join(folder, "expected.json"), "w", encoding="ascii") as out:
        out.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")


def fresh(kind):
    folder = os.path.join(HERE, kind)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def main():
    for kind, j in JSON_KINDS.items():
        folder = fresh(kind)
        write(folder, "tokenizer.json", j)
        expect(folder, Tokenizer.from_file(os.path.join(folder, "tokenizer.json")))
    vocab = dict(VOCAB, **{EOT: N})
    for kind, files in {**PAIR_KINDS, "pair-missing-bytes": {}}.items():
        folder = fresh(kind)
        missing = kind == "pair-missing-bytes"
        write(folder, "vocab.json", dict(PAIR_MISSING["vocab"], **{EOT: N}) if missing else vocab)
        merges = PAIR_MISSING["merges"] if missing else MERGES
        write(folder, "merges.txt", "#version: 0.2\n" + "".join(a + " " + b + "\n" for a, b in merges))
        for name, value in files.items():
            write(folder, name + ".json", value)
        t = GPT2Tokenizer.from_pretrained(folder)
        assert type(t).__name__ == "GPT2Tokenizer"
        assert t.encode("he the " + EOT) == t._tokenizer.encode("he the " + EOT).ids
        expect(folder, t._tokenizer)
    print("tokenizers", tokenizers.__version__, "transformers", transformers.__version__, "Python", sys.version.split()[0])


main()
