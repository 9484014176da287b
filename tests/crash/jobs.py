"""What the crash tests run in processes that are killed: `python -m tests.crash.jobs WORKERS JOB FOLDER [POSTS]`.

A job prints `ready` once everything is imported, so that kills fall into its work.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from animetune import fsio
from animetune.executor import Chunk, LocalExecutor
from animetune.manifest import Manifest, record_files, write_manifest
from animetune.seeding import Purpose, rng_for


def draw(payload: int, folder: Path) -> Manifest:
    """Three files of random bytes, written in pieces over some milliseconds."""
    for name in ("a", "deep/b", "deep/c"):
        rng = rng_for(7, Purpose.DRAW, payload)
        (folder / name).parent.mkdir(exist_ok=True)
        with open(folder / name, "wb") as stream:
            for _ in range(4):
                stream.write(rng.bytes(20_000))
                stream.flush()
                time.sleep(0.005)
    return Manifest(kind="chunk", format_version=1, seen=1, kept=1)


def chunks(workers: int, out: Path) -> None:
    """Twenty chunks, and a manifest of them all."""
    print("ready", flush=True)
    with fsio.lock(out):
        fsio.sweep(out)
        work = [Chunk(f"{number:03}", number) for number in range(20)]
        manifests = LocalExecutor(workers).run(draw, work, out)
        facts = {"chunks": [manifest.digest for manifest in manifests]}
        write_manifest(out, Manifest(kind="step", format_version=1, facts=facts, files=record_files(out)))


def pipeline(workers: int, out: Path, posts: Path) -> None:
    """curate -> shard -> labels over the posts, as three commands one after the other."""
    from animetune.curate import run as curate
    from animetune.shards import labels
    from animetune.shards import run as shards
    from animetune.shards.config import LabelsConfig, ShardConfig
    from tests.builders import TINY_SIZES, curate_config

    executor = {"workers": workers}
    table, root = out / "table", out / "shards"
    shard = {
        "stage": "shard",
        "table": table,
        "out": root,
        "store": {"name": "pixels", "format": "png"},
        "sizes": TINY_SIZES,
        "shard_bytes": 30_000,
        "executor": executor,
    }
    filters = [{"name": "score_min", "score": 3}, {"name": "exclude_tags", "tags": ["cat"]}]
    balance = [{"name": "content_buckets"}]
    cfg = curate_config(posts, out=table, filters=filters, balance=balance, executor=executor)
    print("ready", flush=True)
    curate.run(cfg)
    shards.run(ShardConfig.model_validate(shard))
    labels.run(LabelsConfig(stage="labels", table=table, shards=root, out=out / "labels"))


def main(workers: str, job: str, *folders: str) -> None:
    jobs: dict[str, Any] = {"chunks": chunks, "pipeline": pipeline}
    jobs[job](int(workers), *map(Path, folders))


if __name__ == "__main__":
    main(*sys.argv[1:])
