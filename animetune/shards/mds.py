"""Writes one MDS shard, byte for byte as mosaicml-streaming's MDSWriter does (a test compares them).

    uint32 samples | uint32 offsets (samples + 1) | JSON header | samples
    sample: uint32 size of each variable column | columns by name

Our own because importing streaming costs each worker seconds (it imports torch and transformers), and because MDSWriter
as a context manager finishes a shard also when the body raises: half of the data then looks complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
