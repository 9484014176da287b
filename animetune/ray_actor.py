"""An actor of Ray that publishes chunks, and the driver's end of it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animetune.chunks import Chunk, Failure, Job
from animetune.lifeline import die_with
from animetune.workers import THREADS

GRACE = 5.0
"""Seconds that an actor has to end."""


def installed() -> str:
    """What of this installation results may depend on: `animetune 0.1.0, polars 1.36.1, pillow 12.2.0, Python 3.11`."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("animetune", "polars", "pillow")]
    return ", ".join([*versions, f"Python {'.'.join(platform.python_version_tuple()[:2])}"])


@dataclass(frozen=True, slots=True)
class Place:
    """What a node has to share with the driver."""

    cwd: str
    """The driver's working folder, which relative paths are meant from."""
    witness: Path
    """A file that the driver has just written into the folder of the run."""
    installed: str
    """`installed()` of the driver."""

    def problem(self, seconds: float = 3.0) -> str | None:
        """What is wrong with the node that this is called on, and the remedy. A file may take a moment to be seen."""
        if installed() != self.installed:
            return f"it has {installed()}, and the run {self.installed}; install the same on all nodes"
        if not os.path.isdir(self.cwd):
            return f"it does not see {self.cwd}, from where animetune was started; start it in a folder that all share"
        deadline = time.monotonic() + seconds
        witness = Path(self.cwd, self.witness)
        while not witness.is_file():
            if time.monotonic() > deadline:
                return (
                    f"it does not see {witness.parent}; mount the file system with that folder on all nodes, at "
                    "the same path, or choose a folder on one that is"
                )
            time.sleep(0.1)
        return None


@dataclass(frozen=True, slots=True)
class Greeting:
    """What an actor says when it begins a run."""

    host: str
    pid: int
    problem: str | None


class Actor:
    """In a worker process of Ray, whose main thread calls these methods."""

    def __init__(self, environment: dict[str, str], path: list[str], cpus: int, has_gpu: bool) -> None:
        die_with(os.getppid())
        sys.path += [folder for folder in path if folder not in sys.path]  # to import what work functions are in
        os.environ.update(environment)
        os.environ.setdefault(THREADS, str(cpus))
        if not has_gpu:  # versions of Ray differ in what they leave to see
            os.environ["CUDA_VISIBLE_DEVICES"] = ""

    def begin(self, job: Job, place: Place) -> Greeting:
        """Prepare for the chunks of a job."""
        problem = place.problem()
        if problem is None:
            os.chdir(place.cwd)
        self._job = job
        return Greeting(socket.gethostname(), os.getpid(), problem)

    def publish(self, chunk: Chunk) -> Failure | None:
        """Work on a chunk; None when it is there."""
        try:
            self._job.publish(chunk)
        except Exception as error:
            return Failure.of(error)
        return None


class Member:
    """An actor as the driver sees it, and the chunk that it is at."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._greeting: Greeting | None = None
        self._answer: Any = None
        self.chunk: Chunk | None = None

    def begin(self, job: Any, place: Place) -> Any:
        """Let it begin with a job, an object of Ray; returns the object that `greeted` takes."""
        self._answer = self._handle.begin.remote(job, place)
        return self._answer

    def greeted(self, greeting: Greeting) -> None:
        """It has begun."""
        self._greeting = greeting

    def give(self, chunk: Chunk) -> Any:
        """Give it a chunk; returns the object of Ray that becomes None or a Failure."""
        self.chunk = chunk
        self._answer = self._handle.publish.remote(chunk)
        return self._answer

    @property
    def name(self) -> str:
        """For messages."""
        return "the worker" if self._greeting is None else f"the worker on {self._greeting.host}"

    def kill(self) -> None:
        """End its process without a word."""
        import ray

        with contextlib.suppress(Exception):  # of many kinds, when Ray itself has ended
            ray.kill(self._handle)

    def wait_for_end(self, *, is_here: bool) -> None:
        """Wait until it is dead, but not for ever; `is_here`: its process is on this machine."""
        import ray

        if self._answer is not None:
            with contextlib.suppress(Exception):
                ray.wait([self._answer], timeout=GRACE)
        if self._greeting is None or not is_here:
            return
        deadline = time.monotonic() + GRACE
        while os.path.exists(f"/proc/{self._greeting.pid}") and time.monotonic() < deadline:
            time.sleep(0.01)
