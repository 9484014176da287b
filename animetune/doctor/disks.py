"""Disks: where temporary files, runs and the hub's cache lie, on what file systems, with how much room."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from animetune.doctor.findings import Finding, note, ok, problem
from animetune.progress import bytes_text
from animetune.train.cluster import LONGEST

NETWORK = (
    "nfs",
    "nfs4",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "cifs",
    "smb3",
    "9p",
    "afs",
    "glusterfs",
    "wekafs",
    "panfs",
)
"""Kinds of file systems behind a network; `fuse.` ones count, too."""
IN_MEMORY = ("tmpfs", "ramfs")
LEAST_FREE = 50e9
"""Bytes: one checkpoint of SDXL with AdamW's state has 47 GB."""
LEAST_TEMPORARY = 2e9
"""Bytes of TMPDIR: sockets and locks are small; a Ray of our own keeps its logs there."""
JOB_DIGITS = len("animetune-0123456789ab-4194304")
"""Characters of the folder that a training makes in TMPDIR."""


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    place: str
    kind: str
    """As ext4, nfs4, overlay."""
    is_read_only: bool


def parse_mounts(text: str) -> list[Mount]:
    """The mounts of /proc/self/mountinfo's text, in its order."""
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        words, more = before.split(), after.split()
        if dash and len(words) >= 6 and len(more) >= 3:
            place = words[4].encode().decode("unicode_escape")
            options = {*words[5].split(","), *more[2].split(",")}
            found.append(Mount(place, more[0], "ro" in options))
    return found


def mount_of(path: Path, mounts: list[Mount]) -> Mount | None:
    """The file system that holds an absolute path: the longest place above it, and the last of equals."""
    above = {str(path), *map(str, path.parents)}
    return max(
        (mount for mount in reversed(mounts) if mount.place in above), key=lambda mount: len(mount.place), default=None
    )


def existing(path: Path) -> Path:
    """The path itself if it is there, else the nearest folder above it that is."""
    full = Path(os.path.abspath(path))
    return next((each for each in (full, *full.parents) if each.exists()), Path("/"))


def look_at_tmpdir() -> Iterator[Finding]:
    """The folder of sockets and locks."""
    root = Path(os.environ.get("ANIMETUNE_TMPDIR") or tempfile.gettempdir())
    if not root.is_dir():
        yield problem("TMPDIR", f"{root}: is no folder", "create it, or set TMPDIR (or ANIMETUNE_TMPDIR) to one")
        return
    yield tmpdir_finding(str(root), shutil.disk_usage(root).free, _kind_of(root))


def tmpdir_finding(root: str, free: float, kind: str) -> Finding:
    """Of the folder's name, its free bytes and the kind of its file system."""
    length = len(root) + 1 + JOB_DIGITS
    remedy = "set ANIMETUNE_TMPDIR to a folder with a short name on a local disk, as /tmp"
    if length > LONGEST:
        return problem(
            "TMPDIR",
            f"{root}: too long a name for sockets: with a job's folder {length} characters, and {LONGEST} fit",
            remedy,
        )
    if free < LEAST_TEMPORARY:
        return problem("TMPDIR", f"{root}: {bytes_text(free)} free", f"make room, or {remedy}")
    if is_network(kind):
        return note("TMPDIR", f"{root}: on {kind}, a network file system: locks and sockets may fail there", remedy)
    return ok("TMPDIR", f"{root}, {bytes_text(free)} free")


def look_at_place(
    what: str, path: Path, *, least: float = LEAST_FREE, needed: float | None = None
) -> Iterator[Finding]:
    """A folder that will be written to: its room, its kind, whether it takes files and locks them."""
    place = existing(path)
    if not place.is_dir():
        yield problem(what, f"{path}: {place} is a file", "name another folder, or move the file away")
        return
    kind = _kind_of(place)
    try:
        with tempfile.TemporaryFile(dir=place) as stream:
            stream.write(b"0")
            stream.flush()
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        said = error.strerror or type(error).__name__
        yield problem(what, f"{place}: cannot be written to and locked: {said} ({kind})", "name a folder that can be")
        return
    yield room_finding(what, str(path), shutil.disk_usage(place).free, kind, least=least, needed=needed)


def room_finding(
    what: str, path: str, free: float, kind: str, *, least: float = LEAST_FREE, needed: float | None = None
) -> Finding:
    """Of free bytes against those that are `needed`, or against a rule of thumb where that is not known."""
    text = f"{path}: {bytes_text(free)} free on {kind}"
    if needed is not None:
        text += f", {bytes_text(needed)} needed"
        if free < needed:
            return problem(what, text, "make room, lower checkpoints.keep, or name another disk in the configuration")
    elif free < least:
        return note(
            what, text, f"a run of SDXL wants {bytes_text(least)} and more: animetune plan RECIPE says how much"
        )
    if kind in IN_MEMORY:
        return note(what, f"{text}: that is memory, gone when the machine stops", "name a folder on a disk")
    if is_network(kind):
        return note(
            what,
            f"{text}, a network file system: fine for outputs; shards are read faster from a local disk",
            "set data.cache to a folder on this machine's disk for remote shards",
        )
    return ok(what, text)


def is_network(kind: str) -> bool:
    """Whether a file system lies behind a network, by the kind that the kernel calls it."""
    return kind in NETWORK or kind.startswith("fuse.")


def device_of(path: Path) -> int:
    """What tells apart the file systems of existing paths, or of those above them."""
    return existing(path).stat().st_dev


def _kind_of(path: Path) -> str:
    try:
        mounts = parse_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        mounts = []
    mount = mount_of(path.resolve(), mounts)
    return mount.kind if mount else "an unknown file system"
