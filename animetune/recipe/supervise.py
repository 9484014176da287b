"""Runs a command for a recipe, and lets nothing of it outlive that: `python -m animetune.recipe.supervise PID ...`.

A launcher such as torchrun starts processes in sessions of their own. When it, or the process PID that wanted it, ends
by SIGKILL, these would go on writing beside the next run. So this process stands above them all, hands signals on to
the command, ends what is left of it, and is gone with PID. Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from animetune.lifeline import die_with

HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
LOOK_EVERY = 0.2
"""Seconds between two looks whether PID still lives."""
GRACE = 3.0
"""Seconds that processes have to end by themselves after the command has ended."""
NOT_FOUND = 127


def main(arguments: Sequence[str]) -> int:
    """Run `arguments[1:]` until it ends, or until the process `arguments[0]` does; returns a shell's exit code."""
    wanted_by, command = int(arguments[0]), list(arguments[1:])
    _adopt_orphans()
    received: list[int] = []
    for number in HANDED_ON:
        signal.signal(number, lambda each, _: received.append(each))
    us = os.getpid()
    try:
        child = subprocess.Popen(  # noqa: S603 - what the recipe names
            command,
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: die_with(us),
        )
    except OSError as error:
        sys.stderr.write(f"{command[0]}: cannot be started: {error.strerror}\n")
        return NOT_FOUND

    def hand_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in HANDED_ON:
        signal.signal(number, hand_on)
    for each in received:
        child.send_signal(each)
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = child.wait(LOOK_EVERY)
            _end_others(us, GRACE)
            return code if code >= 0 else 128 - code
        if os.getppid() != wanted_by:
            child.kill()
            _end_others(us, 0.0)
            return 128 + signal.SIGKILL


def descendants(pid: int) -> list[int]:
    """The processes below another one, at any depth; [] where there is no /proc."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            # The name of a process, in brackets, may hold anything.
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def _adopt_orphans() -> None:
    """Make processes below us whose parent ends ours, so that they stay below us (Linux)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        pr_set_child_subreaper = 36
        libc.prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def _end_others(us: int, grace: float) -> None:
    """Wait for what is below us to end, and end it after `grace` seconds."""
    until = time.monotonic() + grace
    while left := _alive(us):
        if time.monotonic() >= until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _alive(us: int) -> list[int]:
    """What is below us, after those were reaped that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return descendants(us)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
