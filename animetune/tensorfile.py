"""Writing a safetensors file one tensor at a time, so that neither an export nor a checkpoint needs a second copy.

The bytes are a pure function of the tensors and the metadata: entries are sorted, as is the metadata (whose order
the safetensors library leaves to chance). They are hashed as they are written, and the file has the rights that the
umask gives, where the library makes it readable by its owner only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

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


def file_order(name: str, dtype: torch.dtype) -> tuple[int, str]:
    """What the tensors of a file are sorted by."""
    return _ORDER[dtype], name


def _header(entries: Sequence[Entry], metadata: Mapping[str, str]) -> bytes:
    fields: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for entry in entries:
        start, end = end, end + entry.dtype.itemsize * torch.Size(entry.shape).numel()
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
