"""Signs of life of every rank, and the end of one that hangs."""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from animetune import fsio
from animetune.records import Batch
from animetune.train.module import TrainModule

BEAT_EVERY = 10.0
"""Seconds between two beats at least."""


class HeartbeatCallback(pl.Callback):
    """Keeps `heartbeat/rank-00000.json` in the run directory: rank, host, process, step, time (UTC) of the last beat.

    With `timeout`, a micro-batch that takes more seconds ends the process: it writes the stacks of all its threads to
    stderr and a line to the ledger. Waiting for data, checkpoints, previews and validation do not count, nor does the
    first micro-batch of a session, which may compile. Put it first among the callbacks.
    """

    def __init__(self, run: Path, *, timeout: float | None = None):
        self.run = run
        self._timeout = timeout
        self._watchdog: Watchdog | None = None
        self._beaten = -BEAT_EVERY

    def on_train_start(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Begin to beat."""
        if self._timeout:
            timeout = self._timeout
            self._watchdog = Watchdog(timeout, lambda: _end(self.run, trainer.global_rank, module.step, timeout))
        self._beat(trainer, module)

    def on_train_batch_start(  # type: ignore[override]
        self, trainer: pl.Trainer, module: TrainModule, batch: Batch, batch_idx: int
    ) -> None:
        """The clock runs from here."""
        if self._watchdog and batch_idx > 0:
            self._watchdog.arm()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, module: TrainModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """The clock stops; beat if it is time."""
        if self._watchdog:
            self._watchdog.disarm()
        if time.monotonic() - self._beaten >= BEAT_EVERY:
            self._beat(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """The last beat."""
        self._stop()
        self._beat(trainer, module)

    def on_exception(self, trainer: pl.Trainer, module: TrainModule, exception: BaseException) -> None:  # type: ignore[override]
        """Stop the clock; the last beat stays as it is."""
        self._stop()

    def _beat(self, trainer: pl.Trainer, module: TrainModule) -> None:
        self._beaten = time.monotonic()
        beat = {
            "rank": trainer.global_rank,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "step": module.step,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        fsio.write_json(self.run / "heartbeat" / f"rank-{trainer.global_rank:05}.json", beat)

    def _stop(self) -> None:
        if self._watchdog:
            self._watchdog.close()
            self._watchdog = None


class Watchdog:
    """Calls `expired` from a thread of its own when it stays armed for `timeout` seconds."""

    def __init__(self, timeout: float, expired: Callable[[], None]):
        self._timeout = timeout
        self._expired = expired
        self._armed: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def arm(self) -> None:
        """The time runs from now."""
        self._armed = time.monotonic()

    def disarm(self) -> None:
        """It does not run."""
        self._armed = None

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._timeout / 5)):
            armed = self._armed
            if armed is not None and time.monotonic() - armed > self._timeout:
                self._expired()
                return


def _end(run: Path, rank: int, step: int, timeout: float) -> None:
    """A thread that hangs in a collective or a driver hears no exception: only the end of its process ends it."""
    fsio.append_line(run / "ledger.jsonl", {"event": "hung", "step": step, "rank": rank, "seconds": timeout})
    sys.stderr.write(
        f"animetune: rank {rank}: a micro-batch after step {step} took more than watch.step_timeout, {timeout:g} s; "
        "where it is:\n"
    )
    sys.stderr.flush()
    faulthandler.dump_traceback(all_threads=True)
    os._exit(1)
