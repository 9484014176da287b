"""Time that work takes where it is done: on a GPU, which runs behind the CPU, without waiting for it."""

from __future__ import annotations

import time
from typing import Any

import torch


class Stopwatch:
    """Adds up the time between `start` and `stop`, on the device's own clock."""

    def __init__(self, device: torch.device):
        self._on_gpu = device.type == "cuda"
        self._started: Any = None
        self._spans: list[tuple[Any, Any]] = []

    def start(self) -> None:
        """Now; a start that was not stopped is forgotten."""
        self._started = self._now()

    def stop(self) -> None:
        """Now; does nothing without a start."""
        if self._started is not None:
            self._spans.append((self._started, self._now()))
            self._started = None

    def take(self) -> float:
        """Seconds since the last call; the device must have done its work."""
        spans, self._spans = self._spans, []
        if self._on_gpu:
            return sum(first.elapsed_time(last) / 1000 for first, last in spans)
        return sum(last - first for first, last in spans)

    def _now(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
