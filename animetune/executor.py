"""Runs a function over chunks of work, each of which becomes a published folder; the folders are the ledger.

    work(payload, folder) -> Manifest     writes files into `folder`, knows nothing of processes
    deliver(name, folder)                 takes what it wants of a finished chunk elsewhere; optional
    executor.run(work, chunks, out)       publishes `out/<chunk name>/`, skips those that are there, keeps the order

A chunk is there whole or not at all (`fsio.publish_dir`), so after a crash, a Ctrl-C or a SIGKILL the same call goes on
with the chunks that are missing. The result does not depend on the number of workers.

Workers are spawned, never forked: Polars' and PyTorch's threads do not survive a fork. `work`, `deliver` and the
payloads are pickled, so the two are functions at the top of a module, or a `functools.partial` of one. Workers ignore
Ctrl-C, which is the parent's to handle, and never outlive the parent. Each has a pipe of its own and nothing else in
common with the others, so a group of processes that is killed leaves no semaphore behind.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from animetune.config import StrictModel
from animetune.errors import AnimetuneError, ChunkError
from animetune.fsio import publish_dir
from animetune.lifeline import die_with
from animetune.manifest import Manifest, has_manifest, read_manifest, record_files, write_manifest

Work = Callable[[Any, Path], Manifest]
"""Writes the files of one chunk into a folder and returns its manifest, without `files`."""

Deliver = Callable[[str, Path], None]
"""Given a chunk's name and its folder, which is whole but not published yet, in the process that worked on it. A file
that it removes is published nowhere but where it took it; the manifest goes on to name it."""

THREADS = "POLARS_MAX_THREADS"
GRACE = 5.0
"""Seconds that a worker has to remove its unfinished chunk when it is asked to stop."""


class ExecutorConfig(StrictModel):
    """Where chunks are worked on."""

    kind: Literal["local"] = "local"
    """`local`: processes on this machine."""
    workers: Annotated[int, pydantic.Field(ge=0)] | None = None
    """Processes; 0 or 1 works in the main process, null takes one per CPU."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of work: the name of its folder, and what the work function is given (it is pickled)."""

    name: str
    payload: Any


class LocalExecutor:
    """Works in this process (`workers` 0 or 1) or in that many spawned ones.

    Within `with executor:` the processes stay from one run to the next, which spares each run the second that it takes
    them to start and to import what they work with.
    """

    def __init__(self, workers: int):
        self.workers = workers
        self._processes: list[_Worker] = []
        self._stay = False

    def __enter__(self) -> LocalExecutor:
        self._stay = True
        return self

    def __exit__(self, *error: object) -> None:
        self._stay = False
        self._end_processes()

    def run(
        self,
        work: Work,
        chunks: Sequence[Chunk],
        out: Path,
        *,
        deliver: Deliver | None = None,
        progress: Callable[[int, int], None] | None = None,
        published: Callable[[Manifest], None] | None = None,
    ) -> list[Manifest]:
        """Publish every chunk that is not in `out` yet, and return the manifests of all, in the order of `chunks`.

        `progress` is called with (chunks published, chunks in all), first with what was there already; `published`
        with the manifest of each chunk that was not, as soon as it is there.

        Raises ChunkError, naming the chunk, when `work` or `deliver` raised or their process died; other chunks stay
        published.
        """
        if len({chunk.name for chunk in chunks}) != len(chunks):
            raise ValueError(f"{out}: two chunks have the same name")
        missing = [chunk for chunk in chunks if not has_manifest(out / chunk.name)]
        done = len(chunks) - len(missing)

        def report(chunk: Chunk | None = None) -> None:
            nonlocal done
            if chunk is not None:
                done += 1
                if published is not None:
                    published(read_manifest(out / chunk.name))
            if progress is not None:
                progress(done, len(chunks))

        report()
        job = _Job(work, deliver, out)
        if self.workers > 1 and len(missing) > 1:
            self._run_in_processes(job, missing, report)
        else:
            for chunk in missing:
                try:
                    job.publish(chunk)
                except Exception as error:
                    raise _Failure.of(error).as_error(chunk, out) from error
                report(chunk)
        return [read_manifest(out / chunk.name) for chunk in chunks]

    def _run_in_processes(self, job: _Job, chunks: Sequence[Chunk], report: Callable[[Chunk], None]) -> None:
        """Give each worker one chunk at a time, so that the chunk of one that dies is known and no queue builds up."""
        waiting = deque(chunks)
        count = min(self.workers, len(chunks))
        try:
            busy: dict[Any, _Worker] = {}
            for number in range(count):
                if number == len(self._processes):
                    self._processes.append(_Worker(self.workers))
                worker = self._processes[number]
                worker.begin(job, waiting.popleft())
                busy[worker.pipe] = worker
            while busy:
                for pipe in wait(list(busy)):
                    busy[pipe].take()
                    report(busy[pipe].chunk)
                    if waiting:
                        busy[pipe].give(waiting.popleft())
                    else:
                        del busy[pipe]
        except BaseException:
            for worker in self._processes:
                worker.process.terminate()
            self._end_processes()
            raise
        if not self._stay:
            self._end_processes()

    def _end_processes(self) -> None:
        deadline = time.monotonic() + GRACE
        while self._processes:
            self._processes.pop().end(deadline - time.monotonic())


def build_executor(cfg: ExecutorConfig) -> LocalExecutor:
    """The executor that a configuration asks for."""
    return LocalExecutor((os.cpu_count() or 1) if cfg.workers is None else cfg.workers)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is done with every chunk."""

    work: Work
    deliver: Deliver | None
    out: Path

    def publish(self, chunk: Chunk) -> None:
        with publish_dir(self.out / chunk.name) as folder:
            manifest = self.work(chunk.payload, folder)
            write_manifest(folder, manifest.model_copy(update={"files": record_files(folder)}))
            if self.deliver is not None:
                self.deliver(chunk.name, folder)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An exception as text: exceptions of other packages do not all survive pickling."""

    what: str
    exit_code: int
    trace: str

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        if isinstance(error, AnimetuneError):
            return cls(str(error), error.exit_code, "")
        return cls(f"{type(error).__name__}: {error}", ChunkError.exit_code, traceback.format_exc())

    def as_error(self, chunk: Chunk, out: Path) -> ChunkError:
        error = ChunkError(f"{out}: chunk {chunk.name}: {self.what}")
        error.exit_code = self.exit_code
        return error


class _Worker:
    """A spawned process, the parent's end of its pipe, and the chunk that it is at."""

    def __init__(self, workers: int):
        spawn = multiprocessing.get_context("spawn")
        self.pipe, far_end = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(far_end, os.getpid()), daemon=True)
        with _sigint_blocked(), _few_threads(workers):
            self.process.start()
        far_end.close()  # so that the death of the process ends the pipe

    def begin(self, job: _Job, chunk: Chunk) -> None:
        """Give the first chunk of a run."""
        self.out = job.out
        self._send(chunk, job)

    def give(self, chunk: Chunk) -> None:
        """Give another chunk of the run."""
        self._send(chunk, None)

    def _send(self, chunk: Chunk, job: _Job | None) -> None:
        self.chunk = chunk
        try:
            self.pipe.send((job, chunk))
        except OSError as error:
            raise self.died() from error

    def take(self) -> None:
        """Wait for the chunk; raises ChunkError if it failed or the process died."""
        try:
            failure = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self.died() from error
        if failure is not None:
            failed = failure.as_error(self.chunk, self.out)
            if failure.trace:
                failed.add_note(failure.trace)
            raise failed

    def died(self) -> ChunkError:
        self.process.join()
        code = self.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = "; often there is too little memory: use fewer workers" if code == -signal.SIGKILL else ""
        return ChunkError(f"{self.out}: chunk {self.chunk.name}: the worker process {how}{hint}")

    def end(self, seconds: float) -> None:
        self.pipe.close()
        self.process.join(max(0.0, seconds))
        self.process.kill()
        self.process.join()


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Let a process started within be born deaf to Ctrl-C: until it ignores it, it would answer with a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


def _serve(pipe: Connection, parent: int) -> None:
    """The life of a worker: chunks in, None or a failure out for each, until the parent closes the pipe.

    The first chunk of a run comes with the job, the others without.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # As an exception, so that the unfinished chunk's folder is removed on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    die_with(parent)
    job: _Job | None = None
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
            pipe.send(_Failure.of(error))
        else:
            pipe.send(None)
