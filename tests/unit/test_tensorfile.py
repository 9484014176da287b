"""Our safetensors writer, read back by the safetensors library."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from animetune.tensorfile import Entry, write_safetensors

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def counting(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


def entry(name: str, tensor: torch.Tensor) -> Entry:
    return Entry(name, tuple(tensor.shape), tensor.dtype, lambda: tensor)


@given(
    stored=st.dictionaries(
        names.filter(lambda name: name != "__metadata__"), st.tuples(shapes, st.sampled_from(DTYPES))
    ),
    metadata=st.dictionaries(names, st.text(max_size=20), max_size=4),
)
def test_the_library_reads_what_we_write(tmp_path_factory, stored, metadata) -> None:
    path = tmp_path_factory.mktemp("written") / "file.safetensors"
    entries = [entry(name, counting(shape).to(dtype)) for name, (shape, dtype) in stored.items()]
    write_safetensors(path, entries, metadata=metadata)
    with safe_open(path, framework="pt") as stream:
        assert (stream.metadata() or {}) == metadata
        assert set(stream.keys()) == set(stored)
    for name, tensor in load_file(path).items():
        shape, dtype = stored[name]
        assert tensor.dtype == dtype
        assert torch.equal(tensor, counting(shape).to(dtype))


def test_bytes_equal_the_librarys(tmp_path: Path) -> None:
    """With one metadata entry (the library's order of several is left to chance) the files are the same."""
    tensors = {"b": counting((3,)).half(), "a": counting((2, 2)), "c": torch.tensor(1.5), "d": torch.zeros(0)}
    tensors |= {str(dtype): counting((3,)).to(dtype) for dtype in DTYPES}
    save_file(tensors, tmp_path / "library.safetensors", {"format": "pt"})
    entries = [entry(name, tensor) for name, tensor in tensors.items()]
    write_safetensors(tmp_path / "ours.safetensors", entries, metadata={"format": "pt"})
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "library.safetensors").read_bytes()


def test_hash_is_that_of_the_tensor_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    entries = [entry("w", counting((5, 3)).bfloat16()), entry("v", counting((2,)))]
    write_safetensors(path, entries, metadata={"title": "x"}, hash_key="hash")
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    stated = json.loads(data[8 : 8 + length])["__metadata__"]
    assert stated == {"hash": "0x" + hashlib.sha256(data[8 + length :]).hexdigest(), "title": "x"}
    assert len(data) == 8 + length + 5 * 3 * 2 + 2 * 4


def test_every_tensor_is_reported_as_done(tmp_path: Path) -> None:
    done: list[int] = []
    entries = [entry(str(number), counting((1,))) for number in range(3)]
    write_safetensors(tmp_path / "file", entries, metadata={}, done=lambda: done.append(1))
    assert len(done) == 3


def test_the_digest_is_that_of_the_file_and_its_rights_are_those_of_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o022)
    try:
        digest = write_safetensors(path, [entry("w", counting((5, 3)))], metadata={})
    finally:
        os.umask(before)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_tensor_that_is_not_what_was_announced_is_refused(tmp_path: Path) -> None:
    wrong = Entry("w", (2, 2), torch.float32, lambda: counting((4,)))
    with pytest.raises(AssertionError, match="was announced as"):
        write_safetensors(tmp_path / "file", [wrong], metadata={})
