"""What a training process leaves on the disk of its node, and what it cleans up after a killed one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from animetune import fsio

JOB_VARIABLE = "ANIMETUNE_JOB"


@contextlib.contextmanager
def private_tmpdir(run: Path) -> Iterator[None]:
    """Give this job a TMPDIR of its own on the node's local disk, shared by the node's ranks, and remove it afterwards.

    mosaicml-streaming keeps file locks in TMPDIR and never deletes them; jobs that share one can wait on each other's.
    `ANIMETUNE_TMPDIR` chooses the disk.
    """
    cluster_job = os.environ.get("SLURM_JOB_ID") or os.environ.get("TORCHELASTIC_RUN_ID")
    is_launcher = JOB_VARIABLE not in os.environ and cluster_job is None
    job = os.environ.setdefault(JOB_VARIABLE, cluster_job or str(os.getpid()))  # inherited by ranks we launch
    root = Path(os.environ.get("ANIMETUNE_TMPDIR", tempfile.gettempdir()))
    folder = root / f"animetune-{fsio.short_digest(str(run.resolve()))}-{job}"
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
