"""What a probe is made of, and what its score consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from animetune.evaluate.cases import Answers, Case
from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.measures import Measure

MOST_SHOWN = 12
"""Pictures shown of each model as its worst."""


@dataclass(frozen=True)
class Needs:
    """What a probe's numbers rest on."""

    scorers: tuple[str, ...] = ()
    """Names of `scorers`; a probe without one of them still has its pictures."""
    tags: tuple[tuple[str, ...], ...] = ()
    """Tags of which the tagger's list must have one, each."""


@dataclass(frozen=True)
class Shown:
    """A picture worth looking at: the key of its case, and why."""

    key: str
    note: str


@dataclass(frozen=True)
class Matrix:
    """How often what was asked (rows) was what came (columns)."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    counts: Mapping[str, Sequence[Sequence[int]]]
    """Model -> row by row."""


@dataclass(frozen=True)
class Table:
    """Numbers by model for the page; results.json has them among the probe's facts."""

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[str]]
    """Model -> what stands in each column."""


@dataclass(frozen=True)
class Grid:
    """Prompts (rows) by arms (columns), as pictures of every model."""

    name: str
    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    keys: Sequence[Sequence[str]]
    """Keys of the cases, row by row."""


@dataclass(frozen=True)
class Score:
    """All that a probe says."""

    measures: Sequence[Measure] = ()
    matrices: Sequence[Matrix] = ()
    tables: Sequence[Table] = ()
    grids: Sequence[Grid] = ()
    worst_title: str = ""
    worst: Mapping[str, Sequence[Shown]] = field(default_factory=dict)
    """Model -> pictures."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else belongs into results.json."""
    notes: Sequence[str] = ()
    """Sentences for the reader: what was left out, and why."""


class Probe(Protocol):
    """A module of this package."""

    TITLE: str
    """Its heading."""
    ABOUT: str
    """What is asked and measured, for the reader of the page."""

    def cases(self, probe: Any, cfg: EvaluateConfig) -> list[Case]:
        """All that it asks. Raises ConfigError for mistakes in a file of prompts."""

    def needs(self, probe: Any) -> Needs:
        """What its numbers rest on."""

    def score(self, probe: Any, cases: Sequence[Case], answers: Answers, baseline: str) -> Score:
        """Numbers of what scorers said; pure."""


def worst(
    cases: Sequence[Case], answers: Answers, severity: Mapping[str, Mapping[str, tuple[float, str]]]
) -> dict[str, list[Shown]]:
    """Of each model the pictures with the highest severity: model -> key -> (severity, note); at most MOST_SHOWN.

    Of equal severity, other prompts come before other seeds of one.
    """
    found = {}
    for model in answers:
        marked = [case for case in cases if case.key in severity.get(model, {})]
        by_prompt: dict[str, int] = {}
        order = []
        for case in sorted(marked, key=lambda case: (-severity[model][case.key][0], case.key)):
            by_prompt[case.item] = by_prompt.get(case.item, 0) + 1
            order.append((by_prompt[case.item], case))
        order.sort(key=lambda ranked: ranked[0])  # stable: severity stays the order within
        found[model] = [Shown(case.key, severity[model][case.key][1]) for _, case in order[:MOST_SHOWN]]
    return found
