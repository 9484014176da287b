"""The names that mosaicml-streaming uses in /dev/shm and TMPDIR: a job's own, held while it lives, swept when it died.

All jobs of a machine share those names, and streaming numbers them from 0: two jobs that start together take the same,
and whatever a killed job left is in the way of the next, or stays in memory for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import streaming.base.shared.prefix as shm_names
import xxhash
from streaming.base.constant import LOCALS

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where Linux keeps it)
NAME_DIGITS = 9
"""Of the number that begins the names of a job in shared memory; streaming's own have 6."""
SWEEP_AFTER = 600.0
"""Seconds after which unlocked names are those of a dead job, and not of one that is just starting."""


@contextlib.contextmanager
def private_names() -> Iterator[None]:
    """Let streaming number its files from a number of this job. The ranks of a job share it, since they share files."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        job = ":".join(os.environ.get(name, "") for name in ("SLURM_JOB_ID", "MASTER_ADDR", "MASTER_PORT"))
    else:
        job = str(os.getpid())
    smallest = 10 ** (NAME_DIGITS - 1)
    first = smallest + xxhash.xxh32_intdigest(job.encode()) % (9 * smallest)
    original = shm_names._each_prefix_int
    shm_names._each_prefix_int = lambda: itertools.count(first)
    try:
        yield
    finally:
        shm_names._each_prefix_int = original


def name_of(number: int, what: str) -> str:
    """The name of a job's file."""
    return shm_names._get_path(number, what)


def hold_names(number: int) -> contextlib.ExitStack:
    """Lock the names that begin with `number` until closed, or until this process and its workers have ended."""
    held = contextlib.ExitStack()
    path = SHARED_MEMORY / name_of(number, LOCALS)
    if path.is_file():  # not on macOS, where shared memory has no files
        descriptor = os.open(path, os.O_RDONLY)
        held.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return held


def sweep_shared_memory() -> None:
    """Remove what killed jobs left in /dev/shm, which is memory. A job that lives holds a lock on its `locals` file."""
    for path in SHARED_MEMORY.glob(f"{'[0-9]' * NAME_DIGITS}_{LOCALS}"):
        with contextlib.suppress(OSError), path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - path.stat().st_mtime > SWEEP_AFTER:
                number = path.name.removesuffix(LOCALS)
                locks = Path(tempfile.gettempdir()).glob(f"{number}*filelock")
                for leftover in [*SHARED_MEMORY.glob(f"{number}*"), *locks]:
                    leftover.unlink(missing_ok=True)
