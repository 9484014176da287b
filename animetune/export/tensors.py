"""Write a safetensors file one tensor at a time, so that exporting SDXL needs no second copy of it in memory.

The bytes are a pure function of the tensors and the metadata: entries are sorted, as is the metadata (whose order
the safetensors library leaves to chance).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from animetune.errors import DataError

_DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_NO_HASH = "0x" + 64 * "0"


@dataclass(frozen=True)
class Entry:
    """A tensor to be written; `make` gives it, in any dtype, when its turn has come."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @classmethod
    def of(cls, name: str, tensor: Tensor, dtype: torch.dtype) -> Entry:
        """A tensor that is at hand."""
        return cls(name, tuple(tensor.shape), dtype, lambda: tensor)


def write_safetensors(
    path: Path,
    entries: Sequence[Entry],
    *,
    metadata: Mapping[str, str],
    hash_key: str | None = None,
    done: Callable[[], None] = lambda: None,
) -> None:
    """Write `entries` to `path`, which fsio handed out; `done` is called after each.

    With `hash_key`, the metadata also gets `0x` and the SHA-256 of all tensor bytes under that name.
    Raises DataError when a tensor holds NaN, infinity or a number that its dtype cannot hold.
    """
    # Widest first, then by name: the library's order, which keeps every tensor aligned.
    ordered = sorted(entries, key=lambda entry: (-entry.dtype.itemsize, entry.name))
    stated = dict(metadata) | ({hash_key: _NO_HASH} if hash_key else {})
    header = _header(ordered, stated)
    digest = hashlib.sha256()
    with open(path, "wb") as stream:
        stream.write(len(header).to_bytes(8, "little"))
        stream.write(header)
        for entry in ordered:
            data = _bytes(entry)
            digest.update(data)
            stream.write(data)
            done()
        if hash_key:
            stream.seek(8 + header.index(_NO_HASH.encode()))
            stream.write(f"0x{digest.hexdigest()}".encode())


def cast(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """`tensor` as `dtype`; DataError when it holds NaN or infinity or does not fit."""
    converted = tensor.to(dtype)
    if not torch.isfinite(converted).all():
        if not torch.isfinite(tensor).all():
            raise DataError(f"{name}: holds NaN or infinity; the weights are damaged, go back to an earlier checkpoint")
        raise DataError(
            f"{name}: {tensor.abs().max().item():.6g} does not fit {dtype} (largest "
            f"{torch.finfo(dtype).max:.6g}); export as bfloat16 or float32"
        )
    return converted


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
    assert tuple(tensor.shape) == entry.shape, f"{entry.name}: {tuple(tensor.shape)} was announced as {entry.shape}"
    plain = cast(tensor.detach().cpu(), entry.dtype, entry.name).contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().data
