"""What killed runs of animetune left in /dev/shm and TMPDIR."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from animetune.doctor.findings import Finding, note, ok
from animetune.progress import bytes_text, first_of

OLD = 3600.0
"""Seconds: younger ones may be of a run that is just starting."""
_OF_TRAINING = re.compile(r"animetune-[0-9a-f]{6,}-(.+)")
_OF_RAY = re.compile(r"animetune-ray-.+")
_LOCALS = re.compile(r"[0-9]{9}_locals")


def leftover_findings(
    shared_memory: Path, temporary: Path, *, living: int = 0, now: float | None = None
) -> Iterator[Finding]:
    """Of dead runs, by the locks and process numbers that living ones hold.

    `living`: other processes of animetune; while there are some, no folder is called a dead run's.
    """
    moment = time.time() if now is None else now
    dead = [path for path in _entries(shared_memory) if _LOCALS.fullmatch(path.name) and _is_unlocked(path, moment)]
    of_dead = [each for path in dead for each in _entries(shared_memory) if each.name[:9] == path.name[:9]]
    if of_dead:
        yield note(
            "shared memory",
            f"{len(of_dead)} files of {len(dead)} dead runs in {shared_memory}, {bytes_text(_size(of_dead))}",
            "the next training removes them",
        )
    folders = [path for path in _entries(temporary) if path.is_dir() and _is_dead(path, moment)]
    if folders and not living:
        yield note(
            "temporary files",
            f"{len(folders)} folders of dead runs in {temporary}: {first_of([path.name for path in folders], 3)}",
            f"rm -r {' '.join(str(path) for path in folders[:3])}{' ...' if len(folders) > 3 else ''}",
        )
    if not of_dead and (living or not folders):
        yield ok("leftovers", "none of dead runs")


def _is_unlocked(path: Path, now: float) -> bool:
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return now - path.stat().st_mtime > OLD
    except OSError:
        return False


def _is_dead(folder: Path, now: float) -> bool:
    """Whether no process has its number and nothing in it changed for long; a Slurm job's number says nothing."""
    match = _OF_TRAINING.fullmatch(folder.name)
    if match is None and not _OF_RAY.fullmatch(folder.name):
        return False
    if match is not None and match[1].isdigit() and os.path.exists(f"/proc/{match[1]}"):
        return False
    try:
        newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:
        return False
    return now - newest > OLD


def living_runs(processes: Path = Path("/proc")) -> int:
    """Other processes on this machine whose command line names animetune."""
    own = {os.getpid(), os.getppid()}
    found = 0
    for folder in _entries(processes):
        if folder.name.isdigit() and int(folder.name) not in own:
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            found += any(os.path.basename(word) == b"animetune" for word in words[:8])
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.exists())
