"""Our safetensors writer, read back by the safetensors library."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from animetune.errors import DataError
from animetune.export.tensors import Entry, cast, write_safetensors

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def counting(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


@given(
    stored=st.dictionaries(
        names.filter(lambda name: name != "__metadata__"), st.tuples(shapes, st.sampled_from(DTYPES))
    ),
    metadata=st.dictionaries(names, st.text(max_size=20), max_size=4),
)
def test_the_library_reads_what_we_write(tmp_path_factory, stored, metadata) -> None:
    path = tmp_path_factory.mktemp("written") / "file.safetensors"
    entries = [Entry.of(name, counting(shape), dtype) for name, (shape, dtype) in stored.items()]
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
    save_file(tensors, tmp_path / "library.safetensors", {"format": "pt"})
    entries = [Entry.of(name, tensor, tensor.dtype) for name, tensor in tensors.items()]
    write_safetensors(tmp_path / "ours.safetensors", entries, metadata={"format": "pt"})
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "library.safetensors").read_bytes()


def test_hash_is_that_of_the_tensor_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    entries = [Entry.of("w", counting((5, 3)), torch.bfloat16), Entry.of("v", counting((2,)), torch.float32)]
    write_safetensors(path, entries, metadata={"title": "x"}, hash_key="hash")
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    stated = json.loads(data[8 : 8 + length])["__metadata__"]
    assert stated == {"hash": "0x" + hashlib.sha256(data[8 + length :]).hexdigest(), "title": "x"}
    assert len(data) == 8 + length + 5 * 3 * 2 + 2 * 4


def test_numbers_that_do_not_fit_are_named() -> None:
    largest = torch.tensor([65504.0, -65504.0])
    assert torch.equal(cast(largest, torch.float16, "w").float(), largest)
    with pytest.raises(
        DataError, match=r"unet\.w: 70000 does not fit torch\.float16 \(largest 65504\); export as bfloat16"
    ):
        cast(torch.tensor([1.0, -70000.0]), torch.float16, "unet.w")
    assert torch.isfinite(cast(torch.tensor([70000.0]), torch.bfloat16, "w")).all()
    for damaged in (torch.nan, torch.inf):
        with pytest.raises(DataError, match="w: holds NaN or infinity; the weights are damaged"):
            cast(torch.tensor([damaged]), torch.float32, "w")


def test_every_tensor_is_reported_as_done(tmp_path: Path) -> None:
    done: list[int] = []
    entries = [Entry.of(str(number), counting((1,)), torch.float32) for number in range(3)]
    write_safetensors(tmp_path / "file", entries, metadata={}, done=lambda: done.append(1))
    assert len(done) == 3
