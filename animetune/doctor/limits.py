"""What the kernel and the container allow: processors, memory, files, shared memory, clock, text encoding."""

from __future__ import annotations

import codecs
import locale
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from animetune.doctor.findings import Finding, note, ok, problem
from animetune.progress import bytes_text

UNLIMITED = 1 << 60
"""Bytes from which a cgroup's limit is none: version 1 writes a number near 2^63."""
OPEN_FILES = 4096
"""Files that a process should be able to hold open: shards, sockets of workers, and one for each tensor in flight."""
LEAST_MEMORY = 16 << 30
"""Bytes below which SDXL's weights are hardly loaded."""
LEAST_SHARED = 1 << 30
"""Bytes of /dev/shm below which data workers are likely to die; Docker gives 64 MB."""
SINCE = 1_767_225_600
"""Seconds: 2026, before which no clock can be right."""


@dataclass(frozen=True)
class Limits:
    """What a control group allows; None is no limit."""

    cpus: float | None
    """Processors' time."""
    memory: int | None
    """Bytes."""
    used: int | None
    """Bytes of `memory` that are in use, without the file cache that can be given back."""


def read_limits(root: Path, membership: str) -> Limits:
    """The strictest limits of a process's control groups.

    `root`: where they are mounted, /sys/fs/cgroup; `membership`: the text of /proc/self/cgroup, whose groups and all
    above them count. Reads version 2 and version 1.
    """
    cpus: list[float] = []
    memory: list[tuple[int, Path]] = []
    for folder in _groups(root, membership):
        if words := _words(folder / "cpu.max"):
            cpus += [int(words[0]) / int(words[1])] if words[0] != "max" else []
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota and period and quota > 0:
            cpus.append(quota / period)
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            count = _number(folder / limit)
            if count is not None and count < UNLIMITED:
                memory.append((count, folder / used))
    least = min(memory, default=None, key=lambda each: each[0])
    if least is None:
        return Limits(min(cpus, default=None), None, None)
    return Limits(min(cpus, default=None), least[0], _in_use(least[1]))


def look_at_processors() -> Iterator[Finding]:
    """Cores of the machine, of this process, and the container's quota."""
    limits = read_limits(Path("/sys/fs/cgroup"), _text(Path("/proc/self/cgroup")))
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield processor_finding(os.cpu_count() or 1, usable, limits)


def processor_finding(cores: int, usable: int, limits: Limits) -> Finding:
    """Of `cores` of the machine, `usable` ones by this process's affinity, and a quota."""
    if limits.cpus is not None and limits.cpus < usable:
        return note(
            "processors",
            f"{cores} cores, {usable} of them usable, but the container may use the time of {limits.cpus:g}",
            f"set executor.workers to {max(1, int(limits.cpus))}, or raise the container's CPU limit",
        )
    if usable < cores:
        return note(
            "processors",
            f"{usable} of {cores} cores usable (affinity)",
            "ask the scheduler for more, as with --cpus-per-task",
        )
    return ok("processors", f"{cores} cores")


def look_at_memory() -> Iterator[Finding]:
    """RAM and the container's limit."""
    limits = read_limits(Path("/sys/fs/cgroup"), _text(Path("/proc/self/cgroup")))
    yield memory_finding(_meminfo(_text(Path("/proc/meminfo"))), limits)


def memory_finding(meminfo: dict[str, int], limits: Limits) -> Finding:
    """`meminfo`: name -> bytes, as of /proc/meminfo."""
    total, available = meminfo.get("MemTotal", 0), meminfo.get("MemAvailable", 0)
    if limits.memory is not None and limits.memory < total:
        total = limits.memory
        available = min(available, total - (limits.used or 0))
    text = f"{bytes_text(total)}{' (limit of the container)' if total == limits.memory else ''}, "
    text += f"{bytes_text(available)} available"
    if total < LEAST_MEMORY:
        return note("memory", text, f"SDXL is hardly loaded with less than {bytes_text(LEAST_MEMORY)}")
    return ok("memory", text)


def look_at_files() -> Iterator[Finding]:
    """Open files and locked memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield open_files_finding(soft, hard)


def open_files_finding(soft: int, hard: int) -> Finding:
    """Of the limits of open files."""
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return ok("open files", "no limit" if soft == resource.RLIM_INFINITY else f"{soft:,}")
    can = "" if hard != resource.RLIM_INFINITY and hard < OPEN_FILES else f"ulimit -n {OPEN_FILES}"
    return note(
        "open files",
        f"at most {soft:,}; many workers and shards may need {OPEN_FILES:,}",
        can or "ask the administrator to raise the hard limit (limits.conf, or --ulimit nofile of the container)",
    )


def shared_memory_finding(free: int, total: int, needed: int | None = None) -> Finding:
    """Of /dev/shm, through which data workers hand over batches; `needed` bytes, where that is known."""
    remedy = "start the container with --shm-size=8g or --ipc=host, or lower data.workers"
    text = f"{bytes_text(free)} free of {bytes_text(total)}"
    if needed is not None and free < needed:
        return problem("shared memory", f"{text}; batches on their way need {bytes_text(needed)}", remedy)
    if needed is None and free < LEAST_SHARED:
        return note("shared memory", f"{text}: data workers may die of SIGBUS", remedy)
    return ok("shared memory", text if needed is None else f"{text}, {bytes_text(needed)} needed")


def look_at_text() -> Iterator[Finding]:
    """Whether file names and output can hold any character."""
    filesystem, output = sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", None) or "ascii"
    yield text_finding(filesystem, output, locale.setlocale(locale.LC_CTYPE))


def text_finding(filesystem: str, output: str, name: str) -> Finding:
    """Of the encodings of file names and of the output, and the locale's name."""
    if {codecs.lookup(filesystem).name, codecs.lookup(output).name} == {"utf-8"}:
        return ok("text", f"UTF-8 ({name})")
    return problem(
        "text",
        f"file names are in {filesystem}, output in {output} (locale {name}): names of characters and artists break",
        "export LC_ALL=C.UTF-8 PYTHONUTF8=1",
    )


def look_at_clock() -> Iterator[Finding]:
    """A clock that is far off breaks TLS and signed requests to object stores."""
    yield clock_finding(time.time())


def clock_finding(now: float) -> Finding:
    """Of the seconds since 1970."""
    said = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if now < SINCE:
        return problem("clock", f"says {said}: TLS and object stores will refuse it", "set the clock, as by NTP")
    return ok("clock", said)


def _groups(root: Path, membership: str) -> Iterator[Path]:
    """Folders of the process's groups and of all above; in a container its own group is the root."""
    for line in membership.splitlines():
        _, controllers, path = [*line.split(":", 2), "", "", ""][:3]
        for top in [root, *(root / name for name in {controllers, *controllers.split(",")} if name), root / "unified"]:
            folder = top / path.lstrip("/")
            while True:
                yield folder
                if folder == top or top not in folder.parents:
                    break
                folder = folder.parent
    yield from (root, root / "cpu", root / "memory")


def _in_use(counter: Path) -> int | None:
    """What a group's counter says, less what the kernel can give back at once."""
    used = _number(counter)
    rows = dict(line.split()[:2] for line in _text(counter.with_name("memory.stat")).splitlines() if " " in line)
    idle = rows.get("total_inactive_file", rows.get("inactive_file", "0"))
    return None if used is None else max(0, used - int(idle))


def _meminfo(text: str) -> dict[str, int]:
    rows = (line.partition(":") for line in text.splitlines())
    return {name: int(value.split()[0]) * 1024 for name, _, value in rows if value.split()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].lstrip("-").isdigit() else None
