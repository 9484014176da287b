"""CLIP tokens: a prompt becomes the two id sequences that SDXL's text encoders read.

The vocabulary is OpenAI's byte-pair file, found among the data files of `open_clip_torch`; nothing is downloaded and
neither open_clip nor transformers is imported. Ids equal those of transformers' `CLIPTokenizerFast` but in two cases,
where the latter damages captions: text such as `<|endoftext|>` is ordinary text here, and `!` stays id 256.

A prompt longer than 75 tokens is cut into chunks of 75, each wrapped in BOS and EOS and encoded by itself, as ComfyUI
and A1111 do:

    chunk 0                                chunk 1
    [BOS, t0 ... t74, EOS]                 [BOS, t75 ... t99, EOS, pad ... pad]

With `split="commas"` a chunk ends at its last comma where one is near, so that no tag is torn in two, as A1111 does:

    [BOS, t0 ... t68, `,`, EOS, pad ... pad] [BOS, t70 ... t99, EOS, pad ... pad]

CLIP-L pads with EOS (49407), CLIP-G with 0; everything else is equal.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib.util
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from animetune import fsio
from animetune.errors import SetupError

BOS = 49406
EOS = 49407
PAD_L = EOS
PAD_G = 0
VOCAB_SIZE = 49408
CHUNK = 77
"""Ids in a chunk: BOS, at most `CHUNK_BODY` tokens, EOS, padding."""
CHUNK_BODY = 75
COMMA_REACH = 20
"""How near the end of a full chunk, in tokens, a comma has to be to end it: A1111's default."""

Split = Literal["anywhere", "commas"]
"""Where a long prompt is cut into chunks."""

WeightedText = Sequence[Sequence[tuple[str, float]]]
"""Texts and their weights, in parts that each begin a chunk (`prompt_weights.parse`)."""

_MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
_MERGES_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
_MERGES_USED = VOCAB_SIZE - 2 * 256 - 2


def tokenize(prompt: str, *, chunks: int, split: Split = "anywhere") -> np.ndarray:
    """The ids of `prompt` for CLIP-L (row 0) and CLIP-G (row 1): int64 (2, 77 * chunks).

    Tokens that do not fit are cut off (`count_fitting` tells); chunks that the prompt does not reach hold an empty
    prompt. Every chunk has an EOS, so the pooled output of the first chunk is always defined.
    """
    return _lay_out(itertools.islice(_bodies(_encode(prompt), split), chunks), chunks)


def tokenize_weighted(parts: WeightedText, *, chunks: int, split: Split = "anywhere") -> tuple[np.ndarray, np.ndarray]:
    """The ids of weighted text, int64 (2, 77 * chunks), and the weight of each place, float32 (77 * chunks,).

    Each part begins a chunk. Texts of different weight are tokenized apart, as A1111 and ComfyUI do. BOS, EOS and
    padding have the weight 1. A single text of weight 1 has the ids of `tokenize`.
    """
    bodies = list(itertools.islice(_weighted_bodies(parts, split), chunks))
    weights = np.ones((chunks, CHUNK), np.float32)
    for index, (_, body_weights) in enumerate(bodies):
        weights[index, 1 : 1 + len(body_weights)] = body_weights
    return _lay_out((body for body, _ in bodies), chunks), weights.reshape(chunks * CHUNK)


def count_chunks(parts: WeightedText, *, split: Split = "anywhere") -> int:
    """Chunks that weighted text fills, at least 1."""
    return max(1, sum(1 for _ in _weighted_bodies(parts, split)))


def count_tokens(prompt: str) -> int:
    """Tokens of `prompt` without BOS, EOS and padding: a chunk holds 75."""
    return len(_encode(prompt))


def count_fitting(prompt: str, *, chunks: int, split: Split = "anywhere") -> int:
    """How many tokens of `prompt` `tokenize` keeps."""
    return sum(map(len, itertools.islice(_bodies(_encode(prompt), split), chunks)))


def write_tokenizer(folder: Path, *, pad: Literal["eos", "zero"]) -> None:
    """Write a tokenizer folder that transformers' `CLIPTokenizer` loads: `eos` for CLIP-L, `zero` for CLIP-G.

    As in SDXL's own folder, padding with id 0 is said by naming its symbol `!` the padding token. transformers then
    also reads a real `!` in a prompt as 0, where ComfyUI, A1111 and `tokenize` give 256.
    """
    vocabulary, merges = _vocabulary()
    end = "<|endoftext|>"
    special = {
        name: {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        for name, content in (("bos_token", "<|startoftext|>"), ("eos_token", end), ("unk_token", end))
    }
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CHUNK,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
        "pad_token": end if pad == "eos" else "!",
    }
    folder.mkdir(parents=True, exist_ok=True)
    fsio.atomic_write(folder / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    fsio.atomic_write(folder / "merges.txt", "\n".join(["#version: 0.2", *map(" ".join, merges), ""]))
    fsio.write_json(folder / "special_tokens_map.json", special | {"pad_token": settings["pad_token"]})
    fsio.write_json(folder / "tokenizer_config.json", settings | special)


def _lay_out(bodies: Iterable[Sequence[int]], chunks: int) -> np.ndarray:
    """Chunks of both rows, int64 (2, 77 * chunks)."""
    ids = np.empty((2, chunks, CHUNK), np.int64)
    ids[0], ids[1] = PAD_L, PAD_G
    ids[:, :, 0] = BOS
    ids[:, :, 1] = EOS  # of the chunks that the prompt does not reach
    for index, body in enumerate(bodies):
        ids[:, index, 1 : 1 + len(body)] = body
        ids[:, index, 1 + len(body)] = EOS
    return ids.reshape(2, chunks * CHUNK)


def _bodies(ids: list[int], split: Split) -> Iterator[list[int]]:
    """What each chunk holds between BOS and EOS."""
    start = 0
    while start < len(ids):
        end = start + CHUNK_BODY
        if split == "commas" and end < len(ids):
            near = range(end, end - COMMA_REACH, -1)
            end = next((stop for stop in near if ids[stop - 1] in _comma_ids()), end)
        yield ids[start:end]
        start = end


def _weighted_bodies(parts: WeightedText, split: Split) -> Iterator[tuple[list[int], list[float]]]:
    """What each chunk holds between BOS and EOS, and its weights."""
    for part in parts:
        pieces = [(_encode(text), weight) for text, weight in part]
        weights = [weight for ids, weight in pieces for _ in ids]
        start = 0
        for body in _bodies([index for ids, _ in pieces for index in ids], split):
            yield body, weights[start : start + len(body)]
            start += len(body)


def _encode(prompt: str) -> list[int]:
    # No token reaches over a space, so words are looked up: ten times as fast as encoding prompts whole.
    return [index for word in prompt.split(" ") for index in _encode_word(word)]


@functools.lru_cache(maxsize=1 << 16)
def _encode_word(word: str) -> tuple[int, ...]:
    return tuple(_tokenizer().encode(word, add_special_tokens=False).ids)


@functools.cache
def _tokenizer() -> Tokenizer:
    """CLIP's text cleaning and word pattern (clip/simple_tokenizer.py), without ftfy and HTML unescaping.

    No special token is registered: a caption cannot end itself by spelling one out.
    """
    vocabulary, merges = _vocabulary()
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


@functools.cache
def _comma_ids() -> frozenset[int]:
    """Tokens that end in a comma: `,` and others such as `),`."""
    vocabulary, _ = _vocabulary()
    return frozenset(index for symbol, index in vocabulary.items() if symbol.removesuffix("</w>").endswith(","))


@functools.cache
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Symbol -> id, and the merges in order of rank.

    Ids: 256 byte symbols, the same at the end of a word, one for every merge, then BOS and EOS.
    """
    lines = gzip.decompress(_merges_bytes()).decode("utf-8").split("\n")
    merges = [(left, right) for left, right in (line.split() for line in lines[1 : 1 + _MERGES_USED])]
    symbols = _byte_symbols()
    names = [
        *symbols,
        *(symbol + "</w>" for symbol in symbols),
        *(left + right for left, right in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return {name: index for index, name in enumerate(names)}, merges


def _byte_symbols() -> list[str]:
    """The 256 byte symbols in vocabulary order: printable bytes as themselves, then the others as U+0100 and on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(0x100 + index) for index in range(256 - len(printable))]


def _merges_bytes() -> bytes:
    """The gzipped merges file; SetupError unless it is the very file that SDXL was trained with."""
    # find_spec runs nothing of open_clip, whose import costs torch and timm.
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise SetupError(f"the CLIP vocabulary {_MERGES_FILE} is part of open_clip_torch: pip install open_clip_torch")
    path = Path(package.submodule_search_locations[0], _MERGES_FILE)
    if not path.is_file():
        raise SetupError(f"{path}: is missing; install open_clip_torch again")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != _MERGES_SHA256:
        raise SetupError(
            f"{path}: is not CLIP's vocabulary (SHA-256 {digest}, expected {_MERGES_SHA256}); every token id would be "
            "wrong: install open_clip_torch again"
        )
    return data
