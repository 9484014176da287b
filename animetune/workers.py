"""Worker processes on this machine: spawned, fed with chunks through a pipe, never outliving their parent.

Workers are spawned, never forked: Polars' and PyTorch's threads do not survive a fork. Each has a pipe of its own and
nothing else in common with the others, so a group of processes that is killed leaves no semaphore behind. They ignore
Ctrl-C, which is the parent's to handle.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from animetune.chunks import NO_MEMORY, Chunk, Failure, Job
from animetune.lifeline import die_with, sigint_blocked

THREADS = "POLARS_MAX_THREADS"
NUMBER = "ANIMETUNE_WORKER"
"""Where a worker finds its number, from 0: no other that lives has the same, so that each can take a GPU of its own."""


class WorkerDied(Exception):
    """The process of a worker ended while it was at a chunk; its text says how."""


class Worker:
    """A spawned process, the parent's end of its pipe, and the chunk that it is at."""

    def __init__(self, workers: int, number: int = 0):
        self.number = number
        spawn = multiprocessing.get_context("spawn")
        self.pipe, far_end = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(far_end, os.getpid()), daemon=True)
        resource_tracker.ensure_running()  # now: where starting a process has to do it, SIGINT is unblocked behind it
        with sigint_blocked(), _few_threads(workers), _numbered(number):
            self.process.start()
        far_end.close()  # so that the death of the process ends the pipe

    def begin(self, job: Job, chunk: Chunk) -> None:
        """Give the first chunk of a run."""
        self.job = job
        self._send(chunk, job)

    def give(self, chunk: Chunk) -> None:
        """Give another chunk of the run."""
        self._send(chunk, None)

    def _send(self, chunk: Chunk, job: Job | None) -> None:
        self.chunk = chunk
        with contextlib.suppress(OSError):  # it is dead, which `take` will tell
            self.pipe.send((job, chunk))

    def take(self) -> None:
        """Wait for the chunk; raises ChunkError if it failed, WorkerDied if the process died."""
        try:
            failure = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise WorkerDied(self._death()) from error
        if failure is not None:
            raise failure.as_error(self.chunk, self.job.out)

    def _death(self) -> str:
        self.process.join()
        code = self.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"the worker process {how}" + (f"; {NO_MEMORY}" if code == -signal.SIGKILL else "")

    def end(self, seconds: float) -> None:
        """Let the process end by itself for so long, then kill it."""
        self.pipe.close()
        self.process.join(max(0.0, seconds))
        self.process.kill()
        self.process.join()


@contextlib.contextmanager
def _few_threads(workers: int) -> Iterator[None]:
    """Let the workers that are started within share the CPUs: Polars starts a thread for each CPU unless it is told."""
    if THREADS in os.environ:
        yield
        return
    os.environ[THREADS] = str(max(1, (os.cpu_count() or 1) // workers))
    try:
        yield
    finally:
        del os.environ[THREADS]


@contextlib.contextmanager
def _numbered(number: int) -> Iterator[None]:
    """Let the worker that is started within find its number."""
    before = os.environ.get(NUMBER)
    os.environ[NUMBER] = str(number)
    try:
        yield
    finally:
        if before is None:
            del os.environ[NUMBER]
        else:
            os.environ[NUMBER] = before


def _serve(pipe: Connection, parent: int) -> None:
    """The life of a worker: chunks in, None or a failure out for each, until the parent closes the pipe.

    The first chunk of a run comes with the job, the others without.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # As an exception, so that the unfinished chunk's folder is removed on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    die_with(parent)
    job: Job | None = None
    while True:
        try:
            new, chunk = pipe.recv()
        except EOFError:
            return
        job = new or job
        assert job is not None
        try:
            job.publish(chunk)
        except Exception as error:
            pipe.send(Failure.of(error))
        else:
            pipe.send(None)
