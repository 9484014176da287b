"""Chunks of work, each of which becomes a published folder; the folders are the ledger.

    work(payload, folder) -> Manifest     writes files into `folder`, knows nothing of processes
    deliver(name, folder)                 takes what it wants of a finished chunk elsewhere; optional
    Job(work, deliver, out).publish(chunk)      -> out/<chunk name>/, in whatever process an executor chose
    Ledger(chunks, out)                   which of them are there, and who is told of it

A chunk is there whole or not at all (`fsio.publish_dir`), so after a crash, a Ctrl-C or a SIGKILL the same call goes on
with the chunks that are missing.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from animetune.errors import AnimetuneError, ChunkError
from animetune.fsio import discard_unfinished, publish_dir
from animetune.manifest import Manifest, has_manifest, read_manifest, record_files, write_manifest

Work = Callable[[Any, Path], Manifest]
"""Writes the files of one chunk into a folder and returns its manifest, without `files`."""

Deliver = Callable[[str, Path], None]
"""Given a chunk's name and its folder, which is whole but not published yet, in the process that worked on it. A file
that it removes is published nowhere but where it took it; the manifest goes on to name it."""

Progress = Callable[[int, int], None]
"""Told (chunks published, chunks in all)."""

NO_MEMORY = "often there is too little memory: use fewer workers"
"""Why workers die of SIGKILL, mostly."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of work: the name of its folder, and what the work function is given (it is pickled)."""

    name: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Job:
    """What is done with every chunk."""

    work: Work
    deliver: Deliver | None
    out: Path

    def publish(self, chunk: Chunk) -> None:
        """Work on a chunk and publish its folder; what `work` and `deliver` raise goes through."""
        with publish_dir(self.out / chunk.name) as folder:
            manifest = self.work(chunk.payload, folder)
            write_manifest(folder, manifest.model_copy(update={"files": record_files(folder)}))
            if self.deliver is not None:
                self.deliver(chunk.name, folder)


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as text: exceptions of other packages do not all survive pickling."""

    what: str
    exit_code: int
    trace: str
    """Where it was raised; empty for our own exceptions, whose message says enough."""

    @classmethod
    def of(cls, error: Exception, trace: str | None = None) -> Failure:
        """What is told of the exception that is being handled, with its traceback unless another text is given."""
        if isinstance(error, AnimetuneError):
            return cls(str(error), error.exit_code, "")
        if trace is None:
            trace = traceback.format_exc()
        return cls(f"{type(error).__name__}: {error}", ChunkError.exit_code, trace)

    def as_error(self, chunk: Chunk, out: Path) -> ChunkError:
        """The error of a run, with the trace as a note."""
        error = ChunkError(f"{out}: chunk {chunk.name}: {self.what}")
        error.exit_code = self.exit_code
        if self.trace:
            error.add_note(self.trace)
        return error


@dataclass(slots=True)
class Ledger:
    """The chunks of a run, in order: which are published, and who is told of it."""

    chunks: Sequence[Chunk]
    out: Path
    progress: Progress | None = None
    published: Callable[[Manifest], None] | None = None
    missing: list[Chunk] = field(init=False)
    """Those that were not there when the run began."""
    done: int = field(init=False)

    def __post_init__(self) -> None:
        if len({chunk.name for chunk in self.chunks}) != len(self.chunks):
            raise ValueError(f"{self.out}: two chunks have the same name")
        self.missing = [chunk for chunk in self.chunks if not has_manifest(self.out / chunk.name)]
        self.done = len(self.chunks) - len(self.missing)
        self._tell()

    def report(self, chunk: Chunk) -> None:
        """A chunk that was missing is there now."""
        self.done += 1
        if self.published is not None:
            self.published(read_manifest(self.out / chunk.name))
        self._tell()

    def manifests(self) -> list[Manifest]:
        """Of all chunks, when all are there."""
        return [read_manifest(self.out / chunk.name) for chunk in self.chunks]

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(self.done, len(self.chunks))


class Deaths:
    """Which chunks lost their worker, and how often: whether one of them is tried again."""

    def __init__(self, out: Path, retries: int):
        self.out = out
        self.retries = retries
        self._counts: Counter[str] = Counter()

    def is_missing_after(self, chunk: Chunk, how: str, note: str = "") -> bool:
        """Clean up after the death of the worker that was at `chunk`; whether the chunk has to be tried again.

        It has not if its worker died between publishing and saying so. Raises ChunkError, with `how` the worker died
        and a note, when the chunk was tried again `retries` times before.
        """
        discard_unfinished(self.out / chunk.name)
        if has_manifest(self.out / chunk.name):
            return False
        self._counts[chunk.name] += 1
        times = self._counts[chunk.name]
        if times > self.retries:
            tries = f" (the last of {times} tries)" if times > 1 else ""
            error = ChunkError(f"{self.out}: chunk {chunk.name}: {how}{tries}")
            if note:
                error.add_note(note)
            raise error
        return True
