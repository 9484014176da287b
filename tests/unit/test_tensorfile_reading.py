"""Our safetensors reader against the library's writer, and files that are something else."""

from __future__ import annotations

import gc
import io
import os
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from animetune.errors import DataError
from animetune.tensorfile import read_outline

STATE = {
    "matrix": torch.arange(6.0).reshape(2, 3),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0),
    "half": torch.tensor([1.5, -2], dtype=torch.bfloat16),
    "eighth": torch.tensor([0.5, 448]).to(torch.float8_e4m3fn),
    "flag": torch.tensor([True, False]),
    "count": torch.tensor([3], dtype=torch.int64),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file(STATE, tmp_path / "x.safetensors", {"key": "ä"})
    return tmp_path / "x.safetensors"


def test_what_the_library_wrote(path: Path) -> None:
    outline = read_outline(path)
    assert outline.metadata == {"key": "ä"}
    assert outline.tensors.keys() == STATE.keys()
    for name, tensor in STATE.items():
        place = outline.tensors[name]
        assert (place.shape, place.dtype) == (tuple(tensor.shape), tensor.dtype)
        assert torch.equal(place.read().float(), tensor.float())


def test_each_reading_is_a_copy_of_its_own(path: Path) -> None:
    place = read_outline(path).tensors["matrix"]
    place.read().zero_()
    assert torch.equal(place.read(), STATE["matrix"])


def test_a_part_is_read_alone(path: Path) -> None:
    first, second = read_outline(path).tensors["matrix"].split(2)
    assert first.read().tolist() == [[0, 1, 2]]
    assert second.read().tolist() == [[3, 4, 5]]


def test_a_removed_file_stays_readable_and_is_closed_at_last(path: Path) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    outline = read_outline(path)
    path.unlink()
    assert torch.equal(outline.tensors["matrix"].read(), STATE["matrix"])
    del outline
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_shrinks_is_noticed(path: Path) -> None:
    outline = read_outline(path)
    os.truncate(path, 10)
    with pytest.raises(DataError, match=r"x\.safetensors: has become shorter while it was read"):
        outline.tensors["matrix"].read()


@given(st.data())
def test_every_cut_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = save(STATE)
    place = tmp_path_factory.mktemp("cut") / "x.safetensors"
    place.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DataError, match=r"is no readable safetensors file|is cut off: its header announces"):
        read_outline(place)


def test_a_cut_file_says_how_much_is_missing(path: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, size - 4)
    with pytest.raises(DataError, match=rf"is cut off: its header announces {size} bytes, the file has {size - 4}"):
        read_outline(path)


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (zipped(), "it is a pickled checkpoint of PyTorch, which can run code; convert it to safetensors"),
        (b"\x80\x02}q\x00." + bytes(64), "it is a pickle, which can run code; convert it to safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n", "it is the pointer of git-lfs"),
        (b"<!doctype html><html></html>", "it is a web page, perhaps that of a failed download"),
        (b"GGUF\x03\x00\x00\x00" + bytes(64), "it is a GGUF file"),
        (b"", "it is empty"),
        (b"\x10" + bytes(7) + b"{'not': 'json'}  ", "its header is missing, damaged or cut off"),
        (b"\x02" + bytes(7) + b"[]", "its header is damaged"),
        (b"\x0d" + bytes(7) + b'{"a":{"b":1}}', "its header is damaged"),
        (b"\x15" + bytes(7) + b'{"__metadata__":null}', r"its header is damaged \(its __metadata__ are not texts"),
        (b"\x18" + bytes(7) + b'{"__metadata__":{"a":1}}', r"its header is damaged \(its __metadata__ are not texts"),
        (b"\x80\x02\x00\x00" + bytes(4) + b'{"a":', "its header is missing, damaged or cut off"),
        (b"\x80\x39\x06\x00", "its header is missing, damaged or cut off"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"model.safetensors: is no readable safetensors file: {what}"):
        read_outline(path)


def test_offsets_and_types_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for field, what in (
        ('{"dtype":"F32","shape":[2],"data_offsets":[0,4]}', r"a of shape \[2\] has 4 bytes"),
        ('{"dtype":"F32","shape":[-1],"data_offsets":[0,-4]}', "its header is damaged"),
        ('{"dtype":"F4","shape":[2],"data_offsets":[0,1]}', "a is of type F4, which is not read"),
    ):
        header = f'{{"a":{field}}}'.encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        with pytest.raises(DataError, match=what):
            read_outline(path)
