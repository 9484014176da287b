"""Writes and reads MDS shards, byte for byte as mosaicml-streaming does (tests compare them).

    uint32 samples | uint32 offsets (samples + 1) | JSON header | samples
    sample: uint32 size of each variable column | columns by name

Our own writer because importing streaming costs each worker seconds (it imports torch and transformers), and because
MDSWriter as a context manager finishes a shard also when the body raises: half of the data then looks complete. Our own
reader because streaming's takes three times as long for a latent: it finds out anew for each value how it is encoded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

SHARD_NAME = "shard.00000.mds"
INDEX_NAME = "index.json"
VERSION = 2
"""Of the MDS format."""


def write_shard(folder: Path, columns: Mapping[str, str], samples: Iterable[Mapping[str, Any]]) -> int:
    """Write `folder/shard.00000.mds` and `folder/index.json`; returns how many samples there were.

    `columns` maps names to MDS encodings: `str`, `bytes` or `ndarray:<dtype>:<shape>`. Without a sample there is no
    shard, and the index is empty. A shard stays below 4 GiB, since its offsets have 32 bits.
    """
    names = sorted(columns)
    header = {
        "version": VERSION,
        "format": "mds",
        "compression": None,
        "hashes": ["xxh64"],
        "size_limit": None,
        "column_names": names,
        "column_encodings": [columns[name] for name in names],
        "column_sizes": [_fixed_size(columns[name]) for name in names],
    }
    encoded = [_encode(sample, columns) for sample in samples]
    shards = []
    if encoded:
        data = _join(encoded, json.dumps(header, sort_keys=True).encode())
        (folder / SHARD_NAME).write_bytes(data)
        hashes = {"xxh64": xxhash.xxh64_hexdigest(data)}
        raw = {"basename": SHARD_NAME, "bytes": len(data), "hashes": hashes}
        shards.append({**header, "raw_data": raw, "zip_data": None, "samples": len(encoded)})
    index = {"version": VERSION, "shards": shards}
    (folder / INDEX_NAME).write_text(json.dumps(index, sort_keys=True), encoding="utf-8")
    return len(encoded)


class ShardLayout(NamedTuple):
    """How the samples of a shard are laid out: what reading one takes, besides the file."""

    names: tuple[str, ...]
    dtypes: tuple[np.dtype | type, ...]
    """`str`, `bytes`, or the dtype of an array."""
    shapes: tuple[tuple[int, ...], ...]
    sizes: tuple[int | None, ...]
    """Bytes of each column; None where the sample says it."""

    @classmethod
    def of(cls, shard: Mapping[str, Any]) -> ShardLayout:
        """From the shard's entry in an index."""
        dtypes: list[np.dtype | type] = []
        shapes: list[tuple[int, ...]] = []
        for encoding in shard["column_encodings"]:
            kind, *array = encoding.split(":")
            dtypes.append({"str": str, "bytes": bytes}[kind] if not array else np.dtype(array[0]))
            shapes.append(tuple(map(int, array[1].split(","))) if array else ())
        sizes = tuple(_fixed_size(encoding) for encoding in shard["column_encodings"])
        return cls(tuple(shard["column_names"]), tuple(dtypes), tuple(shapes), sizes)

    def decode(self, sample: bytes) -> dict[str, Any]:
        """Column -> str, memoryview (of `bytes`) or array; the last two are views of `sample`."""
        view = memoryview(sample)
        at = 4 * self.sizes.count(None)
        if len(sample) < at:
            raise ValueError(f"a sample has {len(sample)} bytes, the sizes of its columns alone {at}")
        variable = iter(view[:at].cast("I"))
        columns: dict[str, Any] = {}
        for name, dtype, shape, fixed in zip(*self, strict=True):
            size = next(variable) if fixed is None else fixed
            value = view[at : at + size]
            at += size
            if dtype is str:
                columns[name] = str(value, "utf-8")
            else:
                columns[name] = value if dtype is bytes else np.frombuffer(value, dtype).reshape(shape)
        if at != len(sample):
            raise ValueError(f"a sample has {len(sample)} bytes, its columns {at}")
        return columns


def read_sample(path: str, place: int, layout: ShardLayout) -> dict[str, Any]:
    """The columns of a sample by its place in the shard.

    The file is opened for each sample: an open one would keep the disk space of an evicted shard. Raises
    FileNotFoundError when it is gone, ValueError when it is not what the layout says.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        begin, end = np.frombuffer(_read_exactly(descriptor, 8, 4 * (1 + place)), "<u4").tolist()
        return layout.decode(_read_exactly(descriptor, end - begin, begin))
    finally:
        os.close(descriptor)


def _read_exactly(descriptor: int, count: int, offset: int) -> bytes:
    data = os.pread(descriptor, count, offset) if count > 0 else b""
    if len(data) != count:  # local files are read whole unless they end
        raise ValueError(f"the file ends before byte {offset + count}")
    return data


def _encode(sample: Mapping[str, Any], columns: Mapping[str, str]) -> bytes:
    sizes, data = [], []
    for name in sorted(columns):
        value = sample[name]
        datum = value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else value.tobytes()
        fixed = _fixed_size(columns[name])
        if fixed is None:
            sizes.append(len(datum))
        elif fixed != len(datum):
            raise ValueError(f"column {name} has {len(datum)} bytes, {columns[name]} has {fixed}")
        data.append(datum)
    return b"".join([np.array(sizes, "<u4").tobytes(), *data])


def _join(encoded: list[bytes], header: bytes) -> bytes:
    head = 4 + 4 * (len(encoded) + 1) + len(header)
    offsets = head + np.cumsum([0, *map(len, encoded)])
    if offsets[-1] >= 2**32:
        raise ValueError(f"a shard of {offsets[-1]} bytes is too large for MDS; lower shard_bytes")
    return b"".join([np.uint32(len(encoded)).tobytes(), offsets.astype("<u4").tobytes(), header, *encoded])


def _fixed_size(encoding: str) -> int | None:
    """Bytes of an encoding whose values all have the same size."""
    if encoding in ("str", "bytes"):
        return None
    _, dtype, shape = encoding.split(":")
    return int(np.prod([int(side) for side in shape.split(",")])) * np.dtype(dtype).itemsize
