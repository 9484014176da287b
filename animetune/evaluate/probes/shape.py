"""What a probe is made of, and what its score consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from animetune.evaluate.cases import Answer, Answers, Case
from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.measures import Measure

MOST_SHOWN = 12
"""Pictures shown of each model as its worst."""


@dataclass(frozen=True)
class Needs:
    """What a probe's numbers rest on."""

    scorers: tuple[str, ...] = ()
    """Names of `scorers`, featurizers too; a probe without one of them still has its pictures."""
    tags: tuple[tuple[str, ...], ...] = ()
    """Tags of which the tagger's list must have one, each."""


@dataclass(frozen=True)
class Reference:
    """A real picture of what a probe compares with; the probe's scorers look at it, too."""

    key: str
    """Names it within the probe, wherever its file lies."""
    file: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the probe has to know to score it."""


@dataclass(frozen=True)
class Looked:
    """All that a probe's numbers are made of."""

    cases: Sequence[Case]
    answers: Answers
    """Of this probe's cases."""
    baseline: str
    """Name of the model that the others are compared with."""
    references: Sequence[Reference] = ()
    reference_answers: Mapping[str, Answer] = field(default_factory=dict)
    """By the key of the reference."""
    metrics: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = field(default_factory=dict)
    """What measures two sets of vectors of a featurizer, such as "ccip": float32 (n, d), (m, d) -> differences (n, m).
    """


@dataclass(frozen=True)
class Shown:
    """A picture worth looking at: the key of its case, and why."""

    key: str
    note: str
    beside: str = ""
    """Key of the reference to show with it."""


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
class Histogram:
    """How a number is distributed over pictures."""

    title: str
    edges: Sequence[float]
    """Of the bins, ascending; one more than bins."""
    counts: Mapping[str, Sequence[int]]
    """Model, and `reference` for the real pictures -> pictures in each bin."""


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
    histograms: Sequence[Histogram] = ()
    grids: Sequence[Grid] = ()
    worst_title: str = ""
    worst: Mapping[str, Sequence[Shown]] = field(default_factory=dict)
    """Model -> pictures."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else belongs into results.json."""
    notes: Sequence[str] = ()
    """Sentences for the reader: what was left out, and why."""
    in_summary: bool = True
    """Whether its first measure stands at the top of the page; not where a higher number may be no better."""
    only_contrasts: bool = False
    """Whether the top of the page has what words change in each model, and not how models compare."""
    lines: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Name -> what `<out>/<name>.jsonl` holds, for whoever wants to count for themselves."""

    @property
    def is_headline(self) -> bool:
        """Whether models are compared by its first measure at the top of the page."""
        return self.in_summary and not self.only_contrasts


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

    def references(self, probe: Any, cfg: EvaluateConfig) -> Sequence[Reference]:
        """The real pictures to compare with; `no_references` where there are none. Raises DataError or SetupError for a
        folder that is not there or cannot be read."""

    def score(self, probe: Any, looked: Looked) -> Score:
        """Numbers of what scorers said; pure."""


def no_references(probe: Any, cfg: EvaluateConfig) -> Sequence[Reference]:
    """None: the probe compares models alone."""
    return ()


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
