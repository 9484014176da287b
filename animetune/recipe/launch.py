"""Training in a process of its own, started by the recipe's `launch:`, and the signals that stop a recipe."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from animetune.errors import AnimetuneError, ConfigError, Preempted, SetupError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; a scheduler's or an operator's; Slurm's warning before the time limit."""
INTERRUPTED = 130


class Stops:
    """Holds the signals of this process within a `with` block, which they leave as KeyboardInterrupt or Preempted.

    While a launched command runs they are handed on to it, which ends by itself. The `train` stage in this process has
    handlers of its own. Does nothing outside of the main thread, where Python delivers no signals.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The first signal that came."""
        self._child: subprocess.Popen[bytes] | None = None
        self._command: Sequence[str] = ()
        self._previous: dict[int, Any] = {}
        self._pid = os.getpid()

    def __enter__(self) -> Stops:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if isinstance(error, KeyboardInterrupt) and self.received in (signal.SIGTERM, signal.SIGUSR1):
            raise self.preempted() from error

    def preempted(self) -> Preempted:
        """What a scheduler's signal means for a recipe."""
        assert self.received is not None
        return Preempted(
            f"stopped by {signal.Signals(self.received).name}; what was finished is kept, the same command continues"
        )

    def run(self, command: Sequence[str]) -> int:
        """Run a command with our output; returns its exit code, 128 + signal if one ended it.

        Whatever becomes of this process, nothing of the command outlives it (`supervise`).
        """
        supervised = [sys.executable, "-m", "animetune.recipe.supervise", str(os.getpid()), *command]
        # In a session of its own: Ctrl-C on a terminal comes to us alone, and is handed on once.
        child = subprocess.Popen(supervised, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
        self._child, self._command = child, command
        if self.received:  # between the look of our caller and now
            child.send_signal(handed_on(self.received, command))
        try:
            code = child.wait()
        except BaseException:  # no signal of ours
            child.terminate()
            child.wait()
            raise
        finally:
            self._child = None
        return code if code >= 0 else 128 - code

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # in a process that was forked from this one, and is not ours to stop
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.received = self.received or number
        if self._child is None:
            raise KeyboardInterrupt
        self._child.send_signal(handed_on(number, self._command))


def handed_on(number: int, command: Sequence[str]) -> int:
    """The signal that a launcher gets for one of ours: torchrun has no handler for SIGUSR1, of which it would die."""
    is_torchrun = any(Path(word).name == "torchrun" or word.startswith("torch.distributed.") for word in command)
    return signal.SIGTERM if number == signal.SIGUSR1 and is_torchrun else number


def train(launch: Sequence[str], file: Path, stops: Stops) -> None:
    """Train by a configuration file with the command `launch`, and hand on how it ended.

    Raises Preempted when it was stopped and saved a checkpoint, KeyboardInterrupt after Ctrl-C, else ConfigError,
    SetupError or AnimetuneError by its exit code; what it wrote itself stands above.
    """
    command = [*launch, "train", str(file)]
    code = stops.run(command)
    if stops.received == signal.SIGINT or code == INTERRUPTED:
        raise KeyboardInterrupt
    if stops.received:  # torchrun ends with 1 when it was asked to stop, whatever its processes end with
        raise stops.preempted()
    if code == 0:
        return
    shown = shlex.join(command)
    if code == Preempted.exit_code:
        raise Preempted(f"`{shown}` was stopped; the checkpoint is saved, the same command continues from it")
    kinds = {ConfigError.exit_code: ConfigError, SetupError.exit_code: SetupError}
    raise kinds.get(code, AnimetuneError)(f"`{shown}` {_ended(code)}; what it said stands above")


def own_command(cfg: Any) -> list[str] | None:
    """The command for a training on several devices of this machine, whose processes Lightning starts by the command
    line that it finds: `animetune train`, and not the recipe's. None for one device, which needs no other process."""
    loop = cfg.loop
    several = loop.nodes > 1 or loop.devices not in ("auto", 1)
    if loop.devices == "auto" and loop.accelerator != "cpu":
        import torch

        several = torch.cuda.device_count() > 1
    return [sys.executable, "-m", "animetune"] if several else None


def _ended(code: int) -> str:
    if code > 128 and code - 128 in {each.value for each in signal.Signals}:
        name = signal.Signals(code - 128).name
        return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with exit code {code}"
