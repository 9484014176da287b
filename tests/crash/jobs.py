"""What the crash tests run in processes that are killed, and the server that forks one for each run.

    python -m tests.crash.jobs      lines in: JSON [job, workers, folder, ...]; lines out: `started PID`, `ended STATUS`

Everything is imported once, by the server, so that a run begins within milliseconds and kills fall into its work; not
at the top of this module, which workers import too. Each run leads a process group of its own, as a job of Slurm does:
killing the group kills its workers.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
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
    with fsio.lock(out):
        fsio.sweep(out)
        work = [Chunk(f"{number:03}", number) for number in range(20)]
        manifests = LocalExecutor(workers).run(draw, work, out)
        facts = {"chunks": [manifest.digest for manifest in manifests]}
        write_manifest(out, Manifest(kind="step", format_version=1, facts=facts, files=record_files(out)))


def pipeline(workers: int, out: Path, posts: Path) -> None:
    """curate -> shard -> labels over the posts, as three commands one after the other; the table has several parts."""
    from animetune import tables
    from animetune.curate import run as curate
    from animetune.shards import labels
    from animetune.shards.config import LabelsConfig
    from tests.builders import curate_config

    tables.PART_ROWS = 256
    executor = {"workers": workers}
    filters = [{"name": "score", "min": 3}, {"name": "exclude_tags", "tags": ["cat"]}]
    balance = [{"name": "content_buckets"}]
    curate.run(curate_config(posts, out=out / "table", filters=filters, balance=balance, executor=executor))
    shard(workers, out / "shards", out / "table")
    labels.run(LabelsConfig(stage="labels", table=out / "table", shards=out / "shards", out=out / "labels"))


def curate(workers: int, out: Path, config: Path) -> None:
    """What a configuration says, to another folder."""
    from animetune.config import load_config
    from animetune.curate import run
    from animetune.curate.config import CurateConfig

    run.run(load_config(config, CurateConfig, [f"out={out}", f"executor.workers={workers}"]))


def shard(workers: int, out: Path, table: Path) -> None:
    """The shard stage alone."""
    _shard(workers, table, out=out)


def shard_s3(workers: int, out: Path, table: Path) -> None:
    """The shard stage to `s3://bucket/<name of out>`, with `out` as the folder on this machine."""
    _shard(workers, table, out=f"s3://bucket/{out.name}", work=out)


def sample(workers: int, out: Path) -> None:
    """12 pictures of 64 pixels by the model that comes with animetune, two at a time."""
    import torch

    from animetune.sample import run
    from animetune.sample.config import SampleConfig

    torch.set_num_threads(1)
    settings = {
        "stage": "sample",
        "model": {"base": "builtin:tiny"},
        "out": str(out / "pictures"),
        "prompts": ["a girl", "a boy", "1girl, " * 40],
        "seeds": range(4),
        "width": 64,
        "height": 64,
        "sampler": {"steps": 12},
        "batch": 2,
        "executor": {"workers": workers},
    }
    run.run(SampleConfig.model_validate(settings))


def questions(workers: int, out: Path, asked: Path) -> None:
    """Questions of a JSON file (`vision`, `asked`: pairs of a picture and its questions); what was said in `out`."""
    from animetune.evaluate.config.vision import VisionConfig
    from animetune.evaluate.questions import PictureQuestions, ask_questions

    settings = json.loads(asked.read_text())
    listed = [PictureQuestions(Path(file), tuple(texts)) for file, texts in settings["asked"]]
    said = ask_questions(VisionConfig.model_validate(settings["vision"]), listed, out / "answers")
    fsio.write_json(out / "said.json", {f"{digest} {text}": each.to_answer() for (digest, text), each in said.items()})


def evaluate(workers: int, out: Path, config: Path) -> None:
    """What a configuration says, to another folder, four pictures at a time; `looked.jsonl` among the answers says
    which were looked at."""
    from animetune.config import load_config
    from animetune.evaluate import asking
    from animetune.evaluate.config import EvaluateConfig
    from animetune.evaluate.run import run

    _answer_part.append(asking.answer_part)
    asking.CHUNK, asking.ROUND, asking.answer_part = 4, 1, look_and_say_so
    run(load_config(config, EvaluateConfig, [f"out={out}", f"executor.workers={workers}"]))


_answer_part: list[Any] = []
"""The real one, in the process that has another in its place."""


def look_and_say_so(part: Any, folder: Path) -> Manifest:
    """As `asking.answer_part`, slow enough to be killed, with a line for the pictures that are looked at."""
    from animetune.evaluate import asking

    log = folder.parent.parent / "looked.jsonl"
    fsio.append_line(log, {"scorer": part.spec.name, "pictures": [digest for digest, _ in part.pictures]})
    time.sleep(0.02)
    manifest: Manifest = (_answer_part[0] if _answer_part else asking.answer_part)(part, folder)
    return manifest


def _shard(workers: int, table: Path, **where: Any) -> None:
    from animetune.shards import run
    from animetune.shards.config import ShardConfig
    from tests.builders import TINY_SIZES

    settings = {
        "stage": "shard",
        "table": table,
        "store": {"name": "pixels", "format": "png"},
        "sizes": TINY_SIZES,
        "shard_bytes": 30_000,
        "executor": {"workers": workers},
    }
    run.run(ShardConfig.model_validate(settings | where))


PRELOADED = (
    "s3fs",
    "openai",
    "animetune.curate.run",
    "animetune.curate.pictures",
    "animetune.evaluate.questions",
    "animetune.evaluate.run",
    "animetune.shards.run",
    "animetune.shards.labels",
    "animetune.sample.run",
)
JOBS = {job.__name__: job for job in (chunks, curate, evaluate, pipeline, questions, sample, shard, shard_s3)}


def serve() -> None:
    """Fork a child for every line of stdin and wait for it."""
    for module in PRELOADED:
        importlib.import_module(module)
    for line in sys.stdin:
        job, workers, *folders = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setpgid(0, 0)
                JOBS[job](int(workers), *map(Path, folders))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.setpgid(child, child)  # here too: the group must exist before its number is told
        print("started", child, flush=True)
        _, status = os.waitpid(child, 0)
        print("ended", status, flush=True)


if __name__ == "__main__":
    serve()
