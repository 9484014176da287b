"""The shard stage against a loop around MDSWriter that does the same, and the writing of samples alone.

On one core, to one disk, hashes xxh64, no compression. What only the stage does: it checks every picture against the
table, publishes parts that survive a kill (each is flushed to the disk), and hashes all files for the manifest.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import side_by_side as bench
import synthetic

PICTURES = 16 if bench.QUICK else 384
BYTES = 1 << (26 if bench.QUICK else 30)
"""Written by each contender that only writes."""
SHARD_BYTES = 1 << 26
ROUNDS = 3
SIDE = 1024
SIZES = {"image": 300_000, "latent": 4 * (SIDE // 8) ** 2 * 2}
"""Bytes of a sample's data: a JPEG of a megapixel, a latent of fp16."""
COLUMNS = {"key": "str", "source": "ndarray:int32:2", "resized": "ndarray:int32:2", "target": "ndarray:int32:2"}


def build(*, folder: str) -> dict[str, Any]:
    """Pictures and a table of them."""
    here = Path(folder)
    pictures = synthetic.write_pictures(here / "pictures", 8 if bench.QUICK else 32, SIDE)
    synthetic.write_table(here / "table", PICTURES, pictures=pictures, side=SIDE)
    return {}


def stage(*, folder: str) -> dict[str, float]:
    """`animetune shard`, in this process."""
    from animetune.shards import run
    from animetune.shards.config import ShardConfig

    settings = {"stage": "shard", "table": f"{folder}/table", "store": {"name": "pixels"}, "executor": {"workers": 0}}
    with tempfile.TemporaryDirectory(dir=folder) as out, _Timed(Path(out)) as timed:
        run.run(ShardConfig.model_validate({**settings, "out": f"{out}/shards", "sizes": {"area": SIDE * SIDE}}))
    return timed.found


def loop(*, folder: str) -> dict[str, float]:
    """Decode, encode and MDSWriter."""
    import pyarrow.parquet as pq
    from PIL import Image
    from streaming import MDSWriter

    (part,) = Path(folder, "table").rglob("*.parquet")
    rows = pq.read_table(part, columns=["key", "image"]).to_pylist()
    sides = np.array([SIDE, SIDE], np.int32)
    with tempfile.TemporaryDirectory(dir=folder) as out, _Timed(Path(out)) as timed:
        columns = COLUMNS | {"image": "bytes"}
        writer = MDSWriter(out=f"{out}/mds", columns=columns, hashes=["xxh64"], size_limit=SHARD_BYTES)
        for row in rows:
            stream = io.BytesIO()
            with Image.open(row["image"]) as picture:
                picture.convert("RGB").save(stream, "JPEG", quality=95, subsampling=0)
            sample = {"key": row["key"], "source": sides, "resized": sides, "target": sides}
            writer.write(sample | {"image": stream.getvalue()})
        writer.finish()
    return timed.found


def write_shards(*, folder: str, column: str) -> dict[str, float]:
    """`animetune.mds.write_shard`, a folder for each shard."""
    from animetune.mds import write_shard

    samples = list(_samples(column))
    per_shard = SHARD_BYTES // SIZES[column]
    with tempfile.TemporaryDirectory(dir=folder) as out, _Timed(Path(out)) as timed:
        for first in range(0, len(samples), per_shard):
            part = Path(out, f"part-{first}")
            part.mkdir()
            write_shard(part, COLUMNS | {column: "bytes"}, samples[first : first + per_shard])
    return timed.found


def mds_writer(*, folder: str, column: str) -> dict[str, float]:
    """streaming's writer."""
    from streaming import MDSWriter

    samples = list(_samples(column))
    with tempfile.TemporaryDirectory(dir=folder) as out, _Timed(Path(out)) as timed:
        columns = COLUMNS | {column: "bytes"}
        writer = MDSWriter(out=f"{out}/mds", columns=columns, hashes=["xxh64"], size_limit=SHARD_BYTES)
        for sample in samples:
            writer.write(sample)
        writer.finish()
    return timed.found


def _samples(column: str) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    data = [rng.bytes(SIZES[column]) for _ in range(100)]
    sides = np.array([SIDE, SIDE], np.int32)
    for number in range(BYTES // SIZES[column]):
        sample = {"key": f"danbooru/{number}", "source": sides, "resized": sides, "target": sides}
        yield sample | {column: data[number % len(data)]}


class _Timed:
    """Times the block; `found` has MB a second of wall-clock and of processor time, by what lies in `folder` then."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.found: dict[str, float] = {}

    def __enter__(self) -> _Timed:
        self.begun, self.begun_cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        seconds, cpu = time.perf_counter() - self.begun, time.process_time() - self.begun_cpu
        megabytes = sum(path.stat().st_size for path in self.folder.rglob("*.mds")) / 1e6
        self.found = {"rate": megabytes / seconds, "per_core": megabytes / cpu}


STAGES = {"the shard stage": stage, "a loop around MDSWriter": loop}
WRITERS = {"write_shard": write_shards, "MDSWriter": mds_writer}

if __name__ == "__main__":
    builder = {"build": build}
    bench.child(STAGES | WRITERS | builder)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-writer-") as folder:
        bench.fresh(builder, "build", folder=folder)
        runs = {f"JPEGs of {SIDE}x{SIDE}, from files": bench.alternate(STAGES, rounds=ROUNDS, folder=folder)}
        for column, what in (("image", "JPEGs, encoded before"), ("latent", "latents, encoded before")):
            runs[what] = bench.alternate(WRITERS, rounds=ROUNDS, folder=folder, column=column)
    for what, found in runs.items():
        *_, plain = found
        for name in found:
            row = {
                "samples": what,
                "writer": name,
                "MB/s per core": f"{bench.middle(found[name], 'per_core'):.0f}",
                "of MDSWriter": bench.ratio_text(bench.paired(found, "per_core", of=name, to=plain)),
                "MB/s": f"{bench.middle(found[name], 'rate'):.0f}",
                "MB/s of MDSWriter's": bench.ratio_text(bench.paired(found, "rate", of=name, to=plain)),
            }
            rows.append(row)
    notes = [
        "per core: by processor time; MB/s: by the clock, which waits for the disk when the stage flushes its parts"
    ]
    bench.report("writer", "Writing shards against plain MDSWriter", rows, notes=notes)
