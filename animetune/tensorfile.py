"""Writing and reading safetensors tensor by tensor, so that neither an export nor a checkpoint needs a second copy.

The bytes written are a pure function of the tensors and the metadata: entries are sorted, as is the metadata (whose
order the safetensors library leaves to chance). They are hashed as they are written, and the file has the rights that
the umask gives, where the library makes it readable by its owner only.

Tensors are read, not mapped: pages of a mapped file count as memory of the process, up to the size of the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animetune.errors import DataError

_DTYPE_NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ORDER = {dtype: place for place, dtype in enumerate(_DTYPE_NAMES)}
"""The library's own order, widest first, which keeps every tensor aligned."""
_NO_HASH = "0x" + 64 * "0"
DTYPES = {name: dtype for dtype, name in _DTYPE_NAMES.items()} | {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""What the format calls a type of numbers -> the type."""
_LONGEST_HEADER = 100_000_000
"""Bytes; the library reads no longer ones."""
_MOST_AT_ONCE = 1 << 30
"""Bytes; the system reads a little under 2 GiB at once."""


@dataclass(frozen=True)
class Entry:
    """A tensor to be written; `make` gives it, of this shape and dtype and on any device, when its turn has come."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]


def write_safetensors(
    path: Path,
    entries: Sequence[Entry],
    *,
    metadata: Mapping[str, str],
    hash_key: str | None = None,
    done: Callable[[], None] = lambda: None,
) -> str:
    """Write `entries` to `path`, which fsio handed out; `done` is called after each.

    Returns the file's SHA-256 in hex. With `hash_key`, the metadata also gets `0x` and the SHA-256 of all tensor bytes
    under that name, and that is what is returned.
    """
    ordered = sorted(entries, key=lambda entry: file_order(entry.name, entry.dtype))
    stated = dict(metadata) | ({hash_key: _NO_HASH} if hash_key else {})
    header = _header(ordered, stated)
    digest = hashlib.sha256()
    with open(path, "wb") as stream:
        opening = len(header).to_bytes(8, "little") + header
        stream.write(opening)
        if not hash_key:
            digest.update(opening)
        for entry in ordered:
            data = _bytes(entry)
            digest.update(data)
            stream.write(data)
            done()
        if hash_key:
            stream.seek(8 + header.index(_NO_HASH.encode()))
            stream.write(f"0x{digest.hexdigest()}".encode())
    return digest.hexdigest()


class _Opened:
    """A file that stays readable when it is renamed or removed; closed with the last tensor that lies in it."""

    def __init__(self, path: Path):
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, room: memoryview, offset: int) -> None:
        """Fill `room` with the bytes from `offset` on."""
        while room:
            count = os.preadv(self._descriptor, [room[:_MOST_AT_ONCE]], offset)
            if not count:
                raise DataError(f"{self.path}: has become shorter while it was read; copy or download it again")
            room, offset = room[count:], offset + count

    def bytes(self, count: int, offset: int = 0) -> bytes:
        """Up to `count` bytes from `offset` on."""
        room = bytearray(max(0, min(count, self.size - offset)))
        self.read(memoryview(room), offset)
        return bytes(room)


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in a file."""

    file: _Opened
    offset: int
    """Bytes before it in the file."""
    shape: tuple[int, ...]
    dtype: torch.dtype

    def read(self) -> Tensor:
        """The tensor, on the CPU, in memory of its own; DataError when the file has become shorter."""
        tensor = torch.empty(self.shape, dtype=self.dtype)
        self.file.read(tensor.reshape(-1).view(torch.uint8).numpy().data, self.offset)
        return tensor

    def split(self, parts: int) -> list[Place]:
        """Equal parts along the first axis, which lie one behind another."""
        shape = (self.shape[0] // parts, *self.shape[1:])
        size = _size(shape, self.dtype)
        return [Place(self.file, self.offset + part * size, shape, self.dtype) for part in range(parts)]


@dataclass(frozen=True)
class Outline:
    """What a safetensors file holds, without the numbers."""

    tensors: dict[str, Place]
    """In the order of the file."""
    metadata: dict[str, str]


def read_outline(path: Path) -> Outline:
    """Names, shapes, dtypes, places and metadata of a safetensors file; nothing else of it is read.

    Raises DataError that says what the file is instead (pickled, cut off, a pointer to a large file ...).
    """
    try:
        file = _Opened(path)
        opening = file.bytes(8)
        length = int.from_bytes(opening, "little")
        if len(opening) < 8 or length > min(_LONGEST_HEADER, file.size - 8):
            raise _unreadable(path, _what_else(file))
        header = json.loads(file.bytes(length, 8))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _unreadable(path, _what_else(file)) from error
    try:
        metadata = _stated(header.pop("__metadata__", {}))
        places = {name: _place(file, 8 + length, name, field) for name, field in header.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(path, f"its header is damaged ({error}); copy or download it again") from error
    end = max((each.offset + _size(each.shape, each.dtype) for each in places.values()), default=8 + length)
    if end > file.size:
        raise DataError(
            f"{path}: is cut off: its header announces {end:,} bytes, the file has {file.size:,}; copy or download it "
            "again"
        )
    return Outline(dict(sorted(places.items(), key=lambda item: item[1].offset)), metadata)


def file_order(name: str, dtype: torch.dtype) -> tuple[int, str]:
    """What the tensors of a file are sorted by."""
    return _ORDER[dtype], name


def _header(entries: Sequence[Entry], metadata: Mapping[str, str]) -> bytes:
    fields: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for entry in entries:
        start, end = end, end + _size(entry.shape, entry.dtype)
        fields[entry.name] = {
            "dtype": _DTYPE_NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    # Spaces up to a multiple of 8 align the data.
    return text + b" " * (-len(text) % 8)


def _bytes(entry: Entry) -> memoryview:
    tensor = entry.make()
    made = (tuple(tensor.shape), tensor.dtype)
    assert made == (entry.shape, entry.dtype), f"{entry.name}: {made} was announced as {entry.shape}, {entry.dtype}"
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _size(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return dtype.itemsize * torch.Size(shape).numel()


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"{path}: is no readable safetensors file: {why}")


def _stated(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its __metadata__ are not texts by name")
    return metadata


def _place(file: _Opened, start: int, name: str, field: dict[str, Any]) -> Place:
    if field["dtype"] not in DTYPES:
        raise DataError(f"{file.path}: {name} is of type {field['dtype']}, which is not read; take another file")
    shape, dtype = tuple(int(side) for side in field["shape"]), DTYPES[field["dtype"]]
    begin, end = (int(offset) for offset in field["data_offsets"])
    if begin < 0 or min(shape, default=0) < 0 or end - begin != _size(shape, dtype):
        raise ValueError(f"{name} of shape {list(shape)} has {end - begin} bytes")
    return Place(file, start + begin, shape, dtype)


_PICKLE = "it is a pickle, which can run code; convert it to safetensors"
_FORMATS = (
    (b"PK\x03\x04", "it is a pickled checkpoint of PyTorch, which can run code; convert it to safetensors"),
    *((bytes([0x80, protocol]), _PICKLE) for protocol in range(2, 6)),
    (b"version https://git-lfs", "it is the pointer of git-lfs; fetch the file itself with `git lfs pull`"),
    (b"<", "it is a web page, perhaps that of a failed download; download it again"),
    (b"GGUF", "it is a GGUF file; take the safetensors file that it was made of"),
)


def _what_else(file: _Opened) -> str:
    start = file.bytes(64)
    opening = start.lstrip()
    if not opening:
        return "it is empty; copy or download it again"
    # The upper half of a header's length is 0, whatever its first bytes look like.
    is_ours = start[4:8] == bytes(4)
    found = next((what for magic, what in _FORMATS if not is_ours and opening.startswith(magic)), None)
    return found or "its header is missing, damaged or cut off; copy or download it again"
