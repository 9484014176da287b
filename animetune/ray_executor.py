"""Works on chunks in actors of Ray, on this machine or on the nodes of a cluster that share its file system.

An actor publishes its chunks itself (`chunks.Job.publish`): what goes over the network is which chunk to do and that it
is done, never pictures. A model that was loaded for one chunk is there for the next, as an actor stays. One that dies
is replaced, and its chunk tried again.

Where the driver dies without a word, its actors are ended by Ray: at once on this machine, within seconds on a cluster,
half a minute later over `ray://`. What one of them still writes is lost and does no harm: its unfinished folder is
removed by the next run (`fsio.sweep`), and what it publishes before has the bytes that the next run would give it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from animetune import fsio
from animetune.chunks import NO_MEMORY, Chunk, Deaths, Deliver, Failure, Job, Ledger, Progress, Work
from animetune.errors import SetupError
from animetune.manifest import Manifest, has_manifest
from animetune.ray_actor import Actor, Member, Place, installed
from animetune.ray_cluster import Cluster, Share, check_installed, first_line, joined
from animetune.workers import THREADS

POLL = 1.0
"""Seconds between looks at what no event tells."""
START_SECONDS = 300.0
"""How long a run waits for its first worker, where others have taken the cluster's resources."""
SEEN_SECONDS = 60.0
"""How long what one node published may take to be seen by another: NFS remembers for that long what was not there."""


class RayExecutor:
    """See `executor.Executor`. Ray is started or joined by the first run that has something to do, and left at its end,
    or at the end of `with executor:`."""

    def __init__(self, share: Share, *, address: str | None, retries: int):
        check_installed()
        self.share = share
        self.address = address
        self.retries = retries
        self._crew: list[Member] = []
        self._cluster: Cluster | None = None
        self._joined = contextlib.ExitStack()
        self._stay = False

    @property
    def workers(self) -> int:
        """Those asked for; where that is left to Ray, those that there is room for, which is known once it is there."""
        return self._cluster.workers if self._cluster is not None else self.share.workers or 1

    def __enter__(self) -> RayExecutor:
        self._stay = True
        return self

    def __exit__(self, *error: object) -> None:
        self._stay = False
        self._leave()

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
        """See `executor.Executor`. SetupError, too, when Ray is not to be had or a node lacks something."""
        ledger = Ledger(chunks, out, progress, published)
        if ledger.missing:
            try:
                if self._cluster is None:
                    self._cluster = self._joined.enter_context(joined(self.address, self.share))
                self._work_off(Job(work, deliver, out), ledger)
            except BaseException:
                self._dismiss(out)
                raise
            finally:
                if not self._stay:
                    self._leave()
        return ledger.manifests()

    def _work_off(self, job: Job, ledger: Ledger) -> None:
        import ray

        count = min(self.workers, len(ledger.missing))
        with _witness(job.out) as witness:
            shift = _Shift(job, ledger, self.retries, ray.put(job), Place(os.getcwd(), witness, installed()))
            while len(self._crew) < count:
                self._crew.append(self._member())
            for member in self._crew[:count]:
                shift.begin(member)
            while not shift.is_over:
                for dead in shift.next_events():
                    dead.kill()  # if it is not to be reached, it may live
                    dead.wait_for_end(is_here=self._is_here)
                    shift.mourn(dead)
                    self._crew.remove(dead)
                    if shift.needs_more:
                        self._crew.append(self._member())
                        shift.begin(self._crew[-1])
        self._crew = [member for member in self._crew if shift.has_begun(member)]

    def _member(self) -> Member:
        """A new actor, which begins as soon as there is room for it."""
        import ray

        environment = {THREADS: os.environ[THREADS]} if THREADS in os.environ else {}
        actor = ray.remote(Actor).options(
            num_cpus=self.share.cpus, num_gpus=self.share.gpus, max_restarts=0, max_task_retries=0
        )
        path = [os.path.abspath(folder) for folder in sys.path]
        return Member(actor.remote(environment, path, max(1, int(self.share.cpus)), self.share.gpus > 0))

    @property
    def _is_here(self) -> bool:
        return self._cluster is not None and self._cluster.is_ours

    def _dismiss(self, out: Path) -> None:
        """End the actors, and remove what they had begun, when they are dead."""
        for member in self._crew:
            member.kill()
        for member in self._crew:
            member.wait_for_end(is_here=self._is_here)
            if member.chunk is not None:
                fsio.discard_unfinished(out / member.chunk.name)
        self._crew.clear()

    def _leave(self) -> None:
        for member in self._crew:
            member.kill()
        self._crew.clear()
        self._cluster = None
        self._joined.close()


class _Shift:
    """The crew at the chunks of one run: each has one chunk at a time, so that the chunk of one that dies is known."""

    def __init__(self, job: Job, ledger: Ledger, retries: int, sent: Any, place: Place):
        self.job = job
        self.ledger = ledger
        self.sent = sent
        self.place = place
        self.waiting = deque(ledger.missing)
        self.deaths = Deaths(job.out, retries)
        self.stillborn = max(3, retries)
        """How many may die before they begin."""
        self.busy: dict[Any, Member] = {}
        self.last_event = time.monotonic()
        self.losses: dict[int, Exception] = {}

    @property
    def is_over(self) -> bool:
        """Whether all chunks are there; some of the crew may not have begun yet."""
        return not self.waiting and not any(member.chunk for member in self.busy.values())

    @property
    def needs_more(self) -> bool:
        """Whether one that died has to be replaced."""
        beginning = sum(member.chunk is None for member in self.busy.values())
        return len(self.waiting) > beginning

    def has_begun(self, member: Member) -> bool:
        """Whether it can be given another job; who still waits for room would come with this one."""
        return member not in self.busy.values()

    def begin(self, member: Member) -> None:
        """Add one to the crew."""
        member.chunk = None
        self.busy[member.begin(self.sent, self.place)] = member

    def next_events(self) -> list[Member]:
        """Wait for something to happen, and go on with it; returns those of the crew that died."""
        import ray

        try:
            ready, _ = ray.wait(list(self.busy), timeout=POLL)
        except SystemExit:  # of our handler of SIGTERM; Ray makes a 1 of any code
            raise SystemExit(128 + signal.SIGTERM) from None
        except (ConnectionError, ray.exceptions.RaySystemError) as error:
            raise _lost(error) from error
        if not ready:
            self._check_begun()
        dead = []
        for answer in ready:
            self.last_event = time.monotonic()
            member = self.busy.pop(answer)
            try:
                said = ray.get(answer)
            except ray.exceptions.RayTaskError as error:  # outside of our own code, which catches its own
                if member.chunk is None:
                    raise SetupError(f"executor: {member.name} cannot begin: {first_line(error.cause)}") from error
                raise Failure.of(error, trace="").as_error(member.chunk, self.job.out) from error
            except (ConnectionError, ray.exceptions.RaySystemError) as error:
                raise _lost(error) from error
            except ray.exceptions.RayError as error:
                self.losses[id(member)] = error
                dead.append(member)
            else:
                self._go_on(member, said)
        return dead

    def _go_on(self, member: Member, said: Any) -> None:
        if member.chunk is None:
            member.greeted(said)
            if said.problem is not None:
                raise SetupError(f"executor: node {said.host}: {said.problem}")
        elif said is not None:
            raise said.as_error(member.chunk, self.job.out)
        else:
            self._report(member.chunk)
        member.chunk = None
        if self.waiting:
            chunk = self.waiting.popleft()
            self.busy[member.give(chunk)] = member

    def mourn(self, member: Member) -> None:
        """Take the chunk of one that is dead back, or note that it is there."""
        error = self.losses.pop(id(member))
        if member.chunk is None:
            self.stillborn -= 1
            if self.stillborn < 0:
                reason = [line.strip() for line in str(error).splitlines() if line.strip()]
                failed = SetupError(
                    f"executor: the workers of Ray die before they begin: {reason[-1] if reason else error}"
                )
                failed.add_note(str(error))
                raise failed from error
        elif self.deaths.is_missing_after(member.chunk, f"{member.name} died; {NO_MEMORY}", note=str(error)):
            self.waiting.appendleft(member.chunk)
        else:
            self._report(member.chunk)
        member.chunk = None

    def _report(self, chunk: Chunk) -> None:
        folder = self.job.out / chunk.name
        deadline = time.monotonic() + SEEN_SECONDS
        while not has_manifest(folder):
            if time.monotonic() > deadline:
                raise SetupError(
                    f"{folder}: was published by a worker, and is not seen here after {SEEN_SECONDS:.0f} s; mount the "
                    "file system on all nodes at the same path, without caching of names (NFS: lookupcache=positive)"
                )
            with contextlib.suppress(OSError):
                os.listdir(folder.parent)  # lets NFS look anew
            time.sleep(0.05)
        self.ledger.report(chunk)

    def _check_begun(self) -> None:
        import ray

        if any(member.chunk for member in self.busy.values()):
            self.last_event = time.monotonic()
        elif time.monotonic() - self.last_event > START_SECONDS:
            free = ray.available_resources()
            raise SetupError(
                f"executor: no worker of Ray has begun for {START_SECONDS:.0f} s; free are "
                f"{free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs. Wait for others to end, or set fewer "
                "`cpus` or `gpus`"
            )


def _lost(error: Exception) -> SetupError:
    return SetupError(
        f"executor: the connection to Ray is lost ({error}); run the same command when it is there: what was finished "
        "is kept"
    )


@contextlib.contextmanager
def _witness(out: Path) -> Iterator[Path]:
    """A file in the folder of the run, for nodes to find there."""
    file = out / f"{fsio.TEMP_PREFIX}{uuid.uuid4().hex}-ray"
    fsio.atomic_write(file, "")
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
