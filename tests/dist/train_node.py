"""A node that trains: imports once, then forks the ranks of one job after another, as told by lines of JSON on stdin.

Each rank runs the whole `train` stage, as torchrun would start it, and writes how it ended.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from animetune import checkpoint
from animetune.config import load_config
from animetune.data.loader import TrainLoader
from animetune.errors import AnimetuneError
from animetune.records import Batch
from animetune.train import run as train_run
from animetune.train.config import TrainConfig

POISONED = 2
"""Micro-batch of rank 1, counted from 0, that holds a NaN where a job asks for `poison`."""


def poison() -> None:
    """Rank 1 gets a NaN."""
    if os.environ["RANK"] != "1":
        return
    iterate = TrainLoader.__iter__

    def poisoned(loader: TrainLoader) -> Iterator[Batch]:
        for index, batch in enumerate(iterate(loader)):
            if index == POISONED:
                latents = torch.zeros(len(batch.rows), 4, batch.size.height // 8, batch.size.width // 8)
                latents[0, 0, 0, 0] = torch.nan
                batch = dataclasses.replace(batch, pixels=None, latents=latents)
            yield batch

    TrainLoader.__iter__ = poisoned


def full_disk() -> None:
    """Rank 0 cannot write the third file of a checkpoint."""
    if os.environ["RANK"] != "0":
        return
    write, written = checkpoint.write_safetensors, []

    def failing(path: Path, *args: Any, **kwargs: Any) -> str:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return write(path, *args, **kwargs)

    checkpoint.write_safetensors = failing


TROUBLES = {each.__name__: each for each in (poison, full_disk)}


def run_rank(job: dict[str, Any], rank: int) -> str:
    """How the run ended: `done`, or the kind and text of its error."""
    for trouble in job["troubles"]:
        TROUBLES[trouble]()
    cfg = load_config(job["config"], TrainConfig, job["settings"])
    try:
        train_run.run(cfg)
    except AnimetuneError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def serve() -> None:
    """Answer each line with what the ranks wrote."""
    faulthandler.enable()  # shows where a rank dies in native code
    importlib.import_module("pytorch_lightning.strategies")
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        children = []
        for rank in range(job["ranks"]):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    if job["ranks"] > 1:
                        count = str(job["ranks"])
                        os.environ.update(
                            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=count, LOCAL_WORLD_SIZE=count,
                            GROUP_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(job["port"]),
                            TORCHELASTIC_RUN_ID=f"job-{job['port']}",
                        )  # fmt: skip
                    Path(f"{job['out']}-{rank}").write_text(run_rank(job, rank))
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(status)
            children.append(child)
        print(json.dumps([os.waitpid(child, 0)[1] for child in children]), flush=True)


if __name__ == "__main__":
    serve()
