"""How a training process was launched, and what it leaves on the disk of its node."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from animetune import fsio
from animetune.errors import SetupError
from animetune.train.config import LoopConfig

JOB_VARIABLE = "ANIMETUNE_JOB"
LONGEST = 107 - len("/pymp-01234567/listener-01234567")
"""Characters of a TMPDIR in which Python's data workers can open their sockets; with a longer one they hang."""


def devices_and_nodes(loop: LoopConfig) -> tuple[int | Literal["auto"], int]:
    """What torchrun or Slurm started, where `devices` leaves it open; else the machine's devices."""
    launched = os.environ
    if loop.devices != "auto":
        return loop.devices, loop.nodes
    if "TORCHELASTIC_RUN_ID" in launched:
        local = int(launched["LOCAL_WORLD_SIZE"])
        return local, int(launched["WORLD_SIZE"]) // local
    if "SLURM_NTASKS_PER_NODE" in launched:
        return int(launched["SLURM_NTASKS_PER_NODE"]), int(launched.get("SLURM_NNODES", loop.nodes))
    return "auto", loop.nodes


def is_first_rank() -> bool:
    """Whether this process is rank 0 of all, before any process group tells."""
    names = ("RANK",) if "RANK" in os.environ else ("SLURM_PROCID", "LOCAL_RANK")  # torchrun numbers nodes its own way
    return all(os.environ.get(name, "0") == "0" for name in names)


def plugins() -> list[Any]:
    """Under Slurm, Lightning would pickle a checkpoint of its own and requeue on a signal that is ours.

    Not when torchrun runs in Slurm's allocation: the ranks are torchrun's then, and Slurm sees one task a node.
    """
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    by_srun = SLURMEnvironment.detect() and "TORCHELASTIC_RUN_ID" not in os.environ
    return [SLURMEnvironment(auto_requeue=False)] if by_srun else []


@contextlib.contextmanager
def private_tmpdir(run: Path) -> Iterator[None]:
    """Give this job a TMPDIR of its own on the node's local disk, shared by the node's ranks, and remove it afterwards.

    mosaicml-streaming keeps file locks in TMPDIR and never deletes them; jobs that share one can wait on each other's.
    `ANIMETUNE_TMPDIR` chooses the disk. What killed sessions of the run left there is removed: a run has one job.
    Raises SetupError when its name is too long.
    """
    cluster_job = os.environ.get("SLURM_JOB_ID") or os.environ.get("TORCHELASTIC_RUN_ID")
    is_launcher = JOB_VARIABLE not in os.environ and cluster_job is None
    job = os.environ.get(JOB_VARIABLE) or cluster_job or str(os.getpid())
    root = Path(os.environ.get("ANIMETUNE_TMPDIR", tempfile.gettempdir()))
    of_run = f"animetune-{fsio.short_digest(str(run.resolve()))}-"
    folder = root / f"{of_run}{job}"
    if os.environ.get("LOCAL_RANK", "0") == "0":
        for left in root.glob(f"{of_run}*"):
            if left != folder:
                shutil.rmtree(left, ignore_errors=True)
    if len(str(folder)) > LONGEST:
        raise SetupError(
            f"{folder}: its name has {len(str(folder))} characters; data workers open sockets in it, for which it may "
            f"have {LONGEST}. Set ANIMETUNE_TMPDIR to a folder with a shorter name"
        )
    if is_launcher:
        os.environ[JOB_VARIABLE] = job  # inherited by the ranks that we launch
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before[1]
        if before[0] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[0]
        if is_launcher:
            del os.environ[JOB_VARIABLE]
        if is_launcher or os.environ.get("LOCAL_RANK", "0") == "0":
            shutil.rmtree(folder, ignore_errors=True)
