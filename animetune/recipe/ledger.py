"""What was done already: `ledger.jsonl` in the recipe's folder, a line for every step that ended well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from animetune import fsio
from animetune.config import StrictModel, as_json
from animetune.recipe.stages import is_handling, settings_of

LEDGER_NAME = "ledger.jsonl"

Settings = dict[str, Any]


@dataclass(frozen=True)
class Done:
    """A step that ended well."""

    step: str
    stage: str
    key: str
    """Digest of its settings and of all that it read."""
    made: str
    """Digest of what it published."""
    settings: Settings
    """Dotted setting -> value; those that change nothing in the output are left out."""
    reads: Mapping[str, str | None]
    """Place -> digest of what was read there."""
    seconds: float = 0.0
    """How long it took, over all the runs that it needed."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """`seen`, `kept`, `dropped`, `quarantined` of its manifest; `facts` that are worth showing."""
    finished: str = ""
    """When, in UTC."""


class Ledger:
    """The lines of all steps, oldest first."""

    def __init__(self, folder: Path):
        self._file = folder / LEDGER_NAME
        self.lines: list[Done] = [Done(**line) for line in fsio.read_lines(self._file)]

    def add(self, done: Done) -> None:
        """Write a line; it is on the disk when this returns."""
        fsio.append_lines(self._file, [asdict(done)], durable=True)
        self.lines.append(done)

    def last(self, step: str) -> Done | None:
        """How a step ended last."""
        return next((done for done in reversed(self.lines) if done.step == step), None)

    def has(self, key: str, made: str | None) -> bool:
        """Whether a step with this key made what is there now."""
        return any((done.key, done.made) == (key, made) for done in self.lines)


def settings_that_matter(cfg: StrictModel, stage: str) -> Settings:
    """Dotted setting -> JSON value, of those that may change the output."""
    return {".".join(key): as_json(value) for key, value in settings_of(cfg) if not is_handling(stage, key)}


def key_of(stage: str, settings: Settings, reads: Mapping[str, str | None]) -> str:
    """Identity of a step: its settings, and what is in all the places that it reads."""
    return fsio.short_digest(fsio.canonical_json([stage, settings, dict(reads)]))


def changed_settings(before: Settings, now: Settings) -> Sequence[str]:
    """One phrase a setting that differs: `loop.steps was 20, is 30`."""
    keys = [key for key in dict.fromkeys((*now, *before)) if before.get(key, ...) != now.get(key, ...)]
    return [f"{key} was {_said(before, key)}, is {_said(now, key)}" for key in keys]


def _said(settings: Settings, key: str) -> str:
    if key not in settings:
        return "not there"
    text = fsio.canonical_json(settings[key])
    return text if len(text) <= 40 else f"{text[:37]}..."
