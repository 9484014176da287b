"""Runs a function over chunks of work, each of which becomes a published folder (`chunks`), in processes somewhere.

    with build_executor(cfg) as executor:
        executor.run(work, chunks, out)       publishes `out/<chunk name>/`, skips those that are there, keeps the order

The result does not depend on the kind of executor, on the number of its workers, or on whether some of them died.
`work`, `deliver` and the payloads are pickled, so the two are functions at the top of a module, or a
`functools.partial` of one.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Protocol

import pydantic

from animetune.chunks import Chunk, Deaths, Deliver, Failure, Job, Ledger, Progress, Work
from animetune.config import StrictModel
from animetune.manifest import Manifest
from animetune.workers import Worker, WorkerDied

__all__ = ["Chunk", "Deliver", "Executor", "ExecutorConfig", "LocalExecutor", "Work", "build_executor"]

GRACE = 5.0
"""Seconds that a worker has to remove its unfinished chunk when it is asked to stop."""
RETRIES = {"local": 1, "ray": 3}
"""`retries` unless it is set. On a cluster deaths are ordinary: nodes are taken away."""


class ExecutorConfig(StrictModel):
    """Where chunks are worked on; changes nothing in the output."""

    kind: Literal["local", "ray"] = "local"
    """`local`: processes on this machine. `ray`: actors of Ray (extra `ray`), on this machine or a cluster."""
    workers: Annotated[int, pydantic.Field(ge=0)] | None = None
    """Processes. Local: 0 or 1 works in the main process, null takes one per CPU. Ray: null takes as many as there is
    room for."""
    retries: Annotated[int, pydantic.Field(ge=0)] | None = None
    """How often a chunk is tried again whose worker died: killed, out of memory, node lost. A chunk whose own code
    raised stops the run at once. null: 1, and 3 on Ray."""
    address: str | None = None
    """Ray: `ray://host:port`, `host:port` or `auto` joins a cluster, whose nodes must share the file system; null
    starts a Ray on this machine, which ends with the stage."""
    cpus: Annotated[float, pydantic.Field(gt=0)] = 1.0
    """Ray: CPUs that each worker takes, which is the number of its threads of Polars too."""
    gpus: Annotated[float, pydantic.Field(ge=0)] = 0.0
    """Ray: GPUs that each worker takes, the only ones that it sees; 0.5 lets two share one, 0 hides them all."""

    @pydantic.model_validator(mode="after")
    def _settings_are_of_its_kind(self) -> ExecutorConfig:
        if self.kind == "local":
            defaults = {name: ExecutorConfig.model_fields[name].default for name in ("address", "cpus", "gpus")}
            for name, default in defaults.items():
                if getattr(self, name) != default:
                    raise ValueError(f"{name}: is only for `kind: ray`; remove it, or set the kind")
            return self
        if self.workers == 0:
            raise ValueError("workers: 0 stands for the main process, which is no actor of Ray; set 1 or more, or null")
        if self.address is not None and not _is_address(self.address):
            raise ValueError(
                f"address: should be auto, ray://host:port or host:port, not {self.address!r}; null starts a Ray of "
                "its own"
            )
        for name in ("cpus", "gpus"):
            share = getattr(self, name)
            if share > 1 and not share.is_integer():
                raise ValueError(
                    f"{name}: Ray shares out parts of one, or whole ones: {share} should be {math.ceil(share)}"
                )
        return self


def _is_address(text: str) -> bool:
    host, colon, port = text.removeprefix("ray://").rpartition(":")
    return text == "auto" or bool(host and colon and "/" not in host and port.isdecimal() and 0 < int(port) < 65536)


class Executor(Protocol):
    """Publishes chunks. Within `with executor:` its workers stay from one run to the next, with what they imported and
    the models that they loaded."""

    @property
    def workers(self) -> int:
        """How many chunks are worked on at a time."""

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(
        self,
        work: Work,
        chunks: Sequence[Chunk],
        out: Path,
        *,
        deliver: Deliver | None = None,
        progress: Progress | None = None,
        published: Callable[[Manifest], None] | None = None,
    ) -> list[Manifest]:
        """Publish every chunk that is not in `out` yet, and return the manifests of all, in the order of `chunks`.

        `progress` is called with (chunks published, chunks in all), first with what was there already; `published`
        with the manifest of each chunk that was not, as soon as it is there.

        Raises ChunkError, naming the chunk, when `work` or `deliver` raised, or their process died more often than the
        executor tries again; other chunks stay published.
        """


class LocalExecutor:
    """Works in this process (`workers` 0 or 1) or in that many spawned ones.

    Those that stay within `with executor:` spare each run the second that it takes them to start and to import what
    they work with.
    """

    def __init__(self, workers: int, retries: int = 0):
        self.workers = workers
        self.retries = retries
        self._processes: list[Worker] = []
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
        progress: Progress | None = None,
        published: Callable[[Manifest], None] | None = None,
    ) -> list[Manifest]:
        """See `Executor`."""
        ledger = Ledger(chunks, out, progress, published)
        job = Job(work, deliver, out)
        if self.workers > 1 and len(ledger.missing) > 1:
            self._run_in_processes(job, ledger)
        else:
            for chunk in ledger.missing:
                try:
                    job.publish(chunk)
                except Exception as error:
                    raise Failure.of(error, trace="").as_error(chunk, out) from error
                ledger.report(chunk)
        return ledger.manifests()

    def _run_in_processes(self, job: Job, ledger: Ledger) -> None:
        """Give each worker one chunk at a time, so that the chunk of one that dies is known and no queue builds up."""
        waiting = deque(ledger.missing)
        deaths = Deaths(job.out, self.retries)
        busy: dict[Any, Worker] = {}

        def start(worker: Worker) -> None:
            worker.begin(job, waiting.popleft())
            busy[worker.pipe] = worker

        try:
            for number in range(min(self.workers, len(waiting))):
                if number == len(self._processes):
                    self._processes.append(self._new_worker())
                start(self._processes[number])
            while busy:
                for pipe in wait(list(busy)):
                    worker = busy[pipe]
                    try:
                        worker.take()
                    except WorkerDied as death:
                        del busy[pipe]
                        worker.pipe.close()
                        if deaths.is_missing_after(worker.chunk, str(death)):
                            waiting.appendleft(worker.chunk)
                        else:
                            ledger.report(worker.chunk)
                        self._processes.remove(worker)
                        if waiting:
                            self._processes.append(self._new_worker())
                            start(self._processes[-1])
                        continue
                    ledger.report(worker.chunk)
                    if waiting:
                        worker.give(waiting.popleft())
                    else:
                        del busy[pipe]
        except BaseException:
            for worker in self._processes:
                worker.process.terminate()
            self._end_processes()
            raise
        if not self._stay:
            self._end_processes()

    def _new_worker(self) -> Worker:
        """A worker with the lowest number that none has: one that takes the place of a dead one takes its number."""
        taken = {worker.number for worker in self._processes}
        return Worker(self.workers, next(number for number in range(len(taken) + 1) if number not in taken))

    def _end_processes(self) -> None:
        deadline = time.monotonic() + GRACE
        while self._processes:
            self._processes.pop().end(deadline - time.monotonic())


def build_executor(cfg: ExecutorConfig) -> Executor:
    """The executor that a configuration asks for; starts nothing yet. SetupError when the extra `ray` is missing."""
    retries = RETRIES[cfg.kind] if cfg.retries is None else cfg.retries
    if cfg.kind == "local":
        return LocalExecutor((os.cpu_count() or 1) if cfg.workers is None else cfg.workers, retries)
    from animetune.ray_cluster import Share
    from animetune.ray_executor import RayExecutor

    return RayExecutor(Share(cfg.workers, cfg.cpus, cfg.gpus), address=cfg.address, retries=retries)
