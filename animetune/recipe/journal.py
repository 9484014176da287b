"""`log.jsonl` of a recipe: when which step began, ended, was skipped or stopped, in all of its runs."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from animetune import __version__, fsio

LOG_NAME = "log.jsonl"


class Journal:
    """Lines with a time and an event: start, begin, done, skip, stopped, failed, end."""

    def __init__(self, folder: Path):
        self._file = folder / LOG_NAME

    def write(self, event: str, step: str | None = None, **facts: Any) -> None:
        """Append a line."""
        line = {"time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"), "event": event}
        of_step = {} if step is None else {"step": step}
        version = {"animetune": __version__} if event == "start" else {}
        fsio.append_line(self._file, line | of_step | version | facts)

    def seconds_before(self, step: str) -> float:
        """Seconds that a step took in runs that were stopped since it ended last; those that were killed tell none."""
        total = 0.0
        for line in fsio.read_lines(self._file):
            if line.get("step") == step and line["event"] in ("stopped", "done"):
                total = 0.0 if line["event"] == "done" else total + float(line["seconds"])
        return total
