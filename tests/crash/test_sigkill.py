"""SIGKILL at random moments: the same command, run again until it ends, gives byte for byte what an unbroken run gives.

`survive` is the harness: it runs a job in a process group of its own (the job and its workers), kills the whole group,
as Slurm or a memory limit does, and runs it again on the same folder. Each kill falls at a random share of the time
that the unbroken run takes, counted from when the job has imported what it needs, so that one folder survives several.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from animetune.fsio import TEMP_PREFIX
from animetune.seeding import Purpose, rng_for
from tests.builders import write_posts

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.crash


def tree(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file (folders: empty), without the lock file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def start(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a job in a process group of its own and wait until it says `ready`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.jobs", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        pytest.fail(f"{command}: did not get ready:\n{process.communicate()[1]}")
    return process


def run_or_kill(command: Sequence[str], *, after: float | None) -> float | None:
    """Run a job; returns the seconds that it took, or None if its whole group was killed `after` seconds."""
    process = start(command)
    began = time.monotonic()
    try:
        _, errors = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    assert process.returncode == 0, errors
    return time.monotonic() - began


def survive(job: str, tmp_path: Path, *arguments: str, kills: int) -> None:
    """Kill a job `kills` times in all, over as many folders as that takes; each must equal an unbroken run's.

    Each start has its work done in the process itself (twice as often, since spawning takes longest) or by two workers.
    """
    seconds, trees = {}, {}
    for workers in ("0", "2"):
        folder = tmp_path / f"unbroken-{workers}"
        seconds[workers] = run_or_kill([workers, job, str(folder), *arguments], after=None) or 0.0
        trees[workers] = tree(folder)
    assert trees["0"] == trees["2"] != {}
    rng = rng_for(7, Purpose.DRAW, kills)
    left, folders, torn = kills, 0, 0
    while left:
        folder = tmp_path / f"killed-{folders}"
        is_done = False
        while not is_done:
            workers = ("0", "0", "2")[rng.integers(3)]
            after = seconds[workers] * rng.random() if left else None
            is_done = run_or_kill([workers, job, str(folder), *arguments], after=after) is not None
            if not is_done:
                left -= 1
                torn += any(TEMP_PREFIX in name for name in tree(folder))
        assert tree(folder) == trees["0"]
        folders += 1
    assert torn, f"none of {kills} kills hit a write: this shows nothing"
    took = " or ".join(f"{value:.1f}" for value in seconds.values())
    print(f"{job}: {kills} kills over {folders} folders, {torn} while writing; a run takes {took} s")


def test_executor(tmp_path: Path) -> None:
    survive("chunks", tmp_path, kills=10)


def test_curate_shard_labels(tmp_path: Path) -> None:
    """600 posts, some of them bad: three chunks of pictures, a dozen parts of shards, all steps in between."""
    posts = write_posts(tmp_path / "posts", 600)
    (posts / "images" / "17.png").unlink()
    cut = posts / "images" / "18.png"
    cut.write_bytes(cut.read_bytes()[:-20])
    with open(posts / "posts.jsonl", "ab") as stream:
        stream.write(b'{"id": 601, "tag_str\n')
    survive("pipeline", tmp_path, str(posts), kills=30)
