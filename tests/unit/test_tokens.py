"""Token ids against transformers' and open_clip's tokenizers, chunks and padding against hand-written ids."""

from __future__ import annotations

import json
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune import tokens
from animetune.errors import SetupError
from animetune.tokens import BOS, EOS, count_tokens, tokenize, write_tokenizer

CAT = [49406, 320, 1125, 539, 320, 2368, 49407]
"""'a photo of a cat', as published with CLIP."""

TYPED = string.digits + string.ascii_letters + string.punctuation + " \t\n\r"
"""ASCII without the control characters that open_clip's text repair removes."""

RESERVED = ("<|startoftext|>", "<|endoftext|>", "<start_of_text>", "<end_of_text>")


@pytest.fixture(scope="session")
def huggingface(tmp_path_factory: pytest.TempPathFactory):
    from transformers import CLIPTokenizerFast

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, pad="eos")
    return CLIPTokenizerFast.from_pretrained(folder)


@pytest.fixture(scope="session")
def open_clip():
    tokenizer = pytest.importorskip("open_clip.tokenizer")
    return tokenizer.SimpleTokenizer()


def body(prompt: str) -> list[int]:
    """The prompt's ids without BOS, EOS and padding."""
    count = count_tokens(prompt)
    chunks = max(1, -(-count // 75))
    rows = tokenize(prompt, chunks=chunks)[0].reshape(chunks, 77)
    return [int(i) for row in rows for i in row[1:76]][:count]


def test_known_ids() -> None:
    ids = tokenize("a photo of a cat", chunks=1)
    assert ids.dtype == np.int64
    assert ids.shape == (2, 77)
    assert ids[0].tolist() == CAT + [EOS] * 70
    assert ids[1].tolist() == CAT + [0] * 70


def test_empty_prompt() -> None:
    ids = tokenize("", chunks=2).reshape(2, 2, 77)
    for chunk in range(2):
        assert ids[0, chunk].tolist() == [BOS, EOS] + [EOS] * 75
        assert ids[1, chunk].tolist() == [BOS, EOS] + [0] * 75
    assert count_tokens("") == count_tokens("  \n ") == 0


@given(st.text(st.sampled_from("ab Σσ\u0301é\u00a0\u3000\x1c\n,.'0_)") | st.characters(codec="utf-8"), max_size=40))
def test_words_are_encoded_as_in_the_whole_prompt(text: str) -> None:
    whole = tokens._tokenizer().encode(text, add_special_tokens=False).ids
    assert body(text) == whole


def test_exclamation_mark_in_text_is_not_padding() -> None:
    assert tokenize("wow!", chunks=1)[1, :4].tolist() == [BOS, 2781, 256, EOS]


@pytest.mark.parametrize("text", ["<|endoftext|>", "a <|startoftext|> b", "x<|endoftext|>y"])
def test_special_tokens_cannot_be_spelled_out(text: str) -> None:
    row = tokenize(text, chunks=1)[1]
    assert (row == BOS).sum() == 1
    assert (row == EOS).sum() == 1
    assert row[row != 0][-1] == EOS


@pytest.mark.parametrize(("words", "chunks"), [(75, 1), (76, 1), (76, 2), (150, 2), (225, 3), (400, 3), (10, 3)])
def test_chunks_hold_75_tokens_each(words: int, chunks: int) -> None:
    prompt = " ".join(["cat"] * words)
    assert count_tokens(prompt) == words
    both = tokenize(prompt, chunks=chunks).reshape(2, chunks, 77)
    left = words
    for index in range(chunks):
        filled = min(left, 75)
        left -= filled
        expected = [BOS] + [2368] * filled + [EOS]
        assert both[0, index].tolist() == expected + [EOS] * (75 - filled)
        assert both[1, index].tolist() == expected + [0] * (75 - filled)


@given(st.text(st.sampled_from(TYPED), max_size=120))
def test_ids_equal_open_clip_on_ascii(open_clip, text: str) -> None:
    if any(word in text.lower() for word in RESERVED) or "&" in text:
        return  # open_clip reads its special tokens and HTML entities out of the text, we keep the text
    assert body(text) == open_clip.encode(text)


@given(st.text(max_size=80))
def test_ids_equal_transformers_fast(huggingface, text: str) -> None:
    if any(word in text.lower() for word in RESERVED[:2]):
        return
    assert body(text) == huggingface(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    "text",
    ["初音ミク", "1girl, 東方, ^_^, >_<, :d", "it's the cats' that'll've", "naïve café", "Σίσυφος", "a\u3000b", "🙂🙂"],
)
def test_ids_equal_transformers_fast_on_hard_text(huggingface, text: str) -> None:
    assert body(text) == huggingface(text, add_special_tokens=False)["input_ids"]


def test_tags_equal_open_clip(open_clip) -> None:
    for text in (
        "1girl, solo, long hair, (smile:1.2)",
        "hatsune miku (vocaloid)",
        "masterpiece, best quality, absurdres",
    ):
        assert body(text) == open_clip.encode(text)


@pytest.mark.parametrize(("pad", "row"), [("eos", 0), ("zero", 1)])
def test_written_tokenizer_pads_as_ours(tmp_path: Path, pad: str, row: int) -> None:
    from transformers import CLIPTokenizer

    write_tokenizer(tmp_path, pad=pad)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("1girl, blue hair", padding="max_length", truncation=True)["input_ids"]
    assert ids == tokenize("1girl, blue hair", chunks=1)[row].tolist()
    vocabulary = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert len(vocabulary) == 49408
    assert sorted(vocabulary.values()) == list(range(49408))


def test_written_tokenizer_has_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tokenizer(tmp_path / name, pad="zero")
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_a_changed_vocabulary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "open_clip"
    package.mkdir()
    (package / "bpe_simple_vocab_16e6.txt.gz").write_bytes(b"something else")
    spec = type("Spec", (), {"submodule_search_locations": [str(package)]})
    monkeypatch.setattr(tokens.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(SetupError, match="is not CLIP's vocabulary"):
        tokens._merges_bytes()
    monkeypatch.setattr(tokens.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="open_clip_torch"):
        tokens._merges_bytes()


def test_import_is_light() -> None:
    code = "import sys, animetune.tokens as t; t.count_tokens('cat'); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "open_clip", "transformers"}.isdisjoint(result.stdout.split())


def chunk_bodies(prompt: str, chunks: int, **options) -> list[list[int]]:
    """What lies between BOS and the first EOS of each chunk."""
    rows = tokenize(prompt, chunks=chunks, **options)[0].reshape(chunks, 77).tolist()
    return [row[1 : row.index(EOS)] for row in rows]


def split_as_a1111(ids: list[int], comma: int) -> list[list[int]]:
    """A1111's rule, told token by token (modules/sd_hijack_clip.py): a full chunk gives back what follows its last
    comma, if that is near."""
    done, chunk, last_comma = [], [], None
    for token in ids:
        if len(chunk) == 75:
            keep = last_comma + 1 if last_comma is not None and 75 - last_comma <= 20 else 75
            done.append(chunk[:keep])
            chunk, last_comma = chunk[keep:], None
        if token == comma:
            last_comma = len(chunk)
        chunk.append(token)
    return [*done, chunk]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=30))
def test_commas_end_chunks_as_in_a1111(lengths: list[int]) -> None:
    prompt = ", ".join(" ".join(["cat"] * length) for length in lengths)
    expected = split_as_a1111(body(prompt), comma=267)
    found = chunk_bodies(prompt, len(expected) + 1, split="commas")
    assert found == [*expected, []]
    assert tokens.count_fitting(prompt, chunks=len(expected), split="commas") == count_tokens(prompt)


def test_commas_by_hand() -> None:
    tags = ", ".join(["red cat"] * 30)  # 30 tags of two words, 29 commas: the 25th ends at token 75
    assert [len(part) for part in chunk_bodies(tags, 2, split="commas")] == [75, 14]
    tags = ", ".join(["big red cat"] * 24)  # four tokens a tag with its comma
    assert [len(part) for part in chunk_bodies(tags, 2, split="commas")] == [72, 23]
    assert [len(part) for part in chunk_bodies(tags, 2)] == [75, 20]
    assert tokens.count_fitting(tags, chunks=1, split="commas") == 72
    assert tokens.count_fitting(tags, chunks=1) == 75


def test_a_comma_behind_a_bracket_ends_a_chunk_too() -> None:
    prompt = "cat " * 68 + "(cat), " + "cat " * 20
    assert [len(part) for part in chunk_bodies(prompt, 2, split="commas")] == [71, 20]


def test_a_comma_that_is_far_ends_no_chunk() -> None:
    for place, first in ((54, 75), (55, 56)):  # the comma is the 21st from the end, then the 20th
        prompt = " ".join(["cat"] * place) + ", " + " ".join(["cat"] * 60)
        assert len(chunk_bodies(prompt, 2, split="commas")[0]) == first


@given(st.text(st.sampled_from("a ,)"), max_size=400), st.integers(1, 4), st.sampled_from(["anywhere", "commas"]))
def test_chunks_hold_the_prompt_in_order(prompt: str, chunks: int, split: str) -> None:
    parts = chunk_bodies(prompt, chunks, split=split)
    held = [index for part in parts for index in part]
    assert held == body(prompt)[: len(held)]
    assert len(held) == tokens.count_fitting(prompt, chunks=chunks, split=split)
    assert all(len(part) <= 75 for part in parts)
    assert len(held) == count_tokens(prompt) or parts[-1]
    assert (tokenize(prompt, chunks=chunks, split=split)[0] == BOS).sum() == chunks
