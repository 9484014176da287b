"""What the steps of curation noted about balancing, taken as it is found: their facts may have more, or none of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from animetune.manifest import Manifest
from animetune.report.table_steps import StepCount

DEEPEST = 3
"""Levels of facts that are looked into: those below name single classes and tags."""
MOST_ROWS = 40


class Weighed(NamedTuple):
    """A figure of the epoch: every picture once, as balanced, and as the published pseudo-code says literally."""

    name: str
    before: float
    after: float
    literal: float | None


class Factor(NamedTuple):
    """One factor of the balance, in the order in which they were applied."""

    name: str
    result: str
    """What it changed: repeats or loss_weight."""
    smallest: float | None
    mean: float | None
    largest: float | None
    samples: float | None
    """What an epoch shows after it."""


def all_facts(manifest: Manifest, steps: Sequence[StepCount]) -> dict[str, Any]:
    """The facts of all steps and of the table itself, which has the last word."""
    return {name: value for step in steps for name, value in step.facts.items()} | manifest.facts


def posts_read(manifest: Manifest, steps: Sequence[StepCount]) -> int:
    """How many posts there were; `manifest.seen` also counts the close-ups that curation added."""
    if steps:
        return steps[0].seen
    closeups = manifest.facts.get("closeups")
    added = closeups.get("added") if isinstance(closeups, Mapping) else None
    return manifest.seen - (added if isinstance(added, int) else 0)


def weighed(facts: Mapping[str, Any]) -> list[Weighed]:
    """The figures of the epoch and of its tags that were noted side by side."""
    found = [*_weighed(facts.get("epoch"), ()), *_weighed(facts.get("tag_epoch"), ("tags",))]
    return found[:MOST_ROWS]


def factors(facts: Mapping[str, Any]) -> list[Factor]:
    """The factors of the balance."""
    epoch = facts.get("epoch")
    listed = epoch.get("factors") if isinstance(epoch, Mapping) else None
    numbers = ("smallest", "mean", "largest", "samples")
    return [
        Factor(str(item.get("name", "")), str(item.get("result", "")), *(_number(item.get(name)) for name in numbers))
        for item in (listed if isinstance(listed, list) else [])
        if isinstance(item, Mapping)
    ]


def homonyms(facts: Mapping[str, Any]) -> int:
    """How many texts are written for tags of two categories."""
    noted = facts.get("homonyms", 0)
    if isinstance(noted, Mapping | list):
        return len(noted)
    return noted if isinstance(noted, int) else 0


def _weighed(value: Any, path: tuple[str, ...]) -> Iterator[Weighed]:
    if not isinstance(value, Mapping) or len(path) > DEEPEST:
        return
    before, after = _number(value.get("before")), _number(value.get("after"))
    if before is not None and after is not None:
        yield Weighed(": ".join(part.replace("_", " ") for part in path), before, after, _number(value.get("literal")))
        return
    for name in sorted(value):
        if not (path and name in ("samples", "most")):  # one line a class or tag
            yield from _weighed(value[name], (*path, str(name)))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
