"""The pictures of an evaluation's page: which are shown, and which are blurred until they are clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from animetune.evaluate.cases import Answers, Case
from animetune.evaluate.probes.rating import rating_of
from animetune.evaluate.probes.shape import Grid
from animetune.evaluate.results import Evaluation, Found

VEILED = ("questionable", "explicit")
"""Ratings, of the tagger or asked for, whose pictures are blurred until they are clicked."""
EXAMPLES = 6
MOST_STEPS, STEP_ROWS = 8, 2
"""Models in a row of pictures over training time, and rows of each probe."""


class Picture(NamedTuple):
    """A picture of the page."""

    file: Path
    prompt: str
    note: str
    is_veiled: bool
    beside: Path | None = None
    """A real picture that it is shown with."""


class GridShown(NamedTuple):
    """A grid of one model."""

    grid: Grid
    model: str
    pictures: Sequence[Sequence[Picture | None]]


class StepRow(NamedTuple):
    """One prompt, drawn by each of some models."""

    prompt: str
    pictures: Sequence[Picture | None]


class Shelf:
    """Pictures by model and key of a case."""

    def __init__(self, answers: Answers, pictures: Mapping[str, Mapping[str, Path]]):
        self._answers = answers
        self._pictures = pictures

    def take(self, model: str, case: Case, note: str = "", beside: Path | None = None) -> Picture | None:
        """The picture of a case; None where it is missing."""
        file = self._pictures.get(model, {}).get(case.key)
        if file is None:
            return None
        answer = self._answers.get(model, {}).get(case.key, {})
        is_veiled = rating_of(answer) in VEILED or case.facts.get("expected") in VEILED
        return Picture(file, case.request.prompt, note, is_veiled, beside)

    def worst(self, found: Found) -> dict[str, list[Picture]]:
        """By model; empty where no model has one."""
        cases = {case.key: case for case in found.cases}
        real = {each.key: each.file for each in found.references}
        shown = {
            model: [
                picture
                for each in pictures
                if (picture := self.take(model, cases[each.key], each.note, real.get(each.beside))) is not None
            ]
            for model, pictures in found.score.worst.items()
        }
        return shown if any(shown.values()) else {}

    def examples(self, found: Found, models: Sequence[str]) -> dict[str, list[Picture]]:
        """Some of each model, of cases spread over the probe."""
        chosen = found.cases[:: max(1, len(found.cases) // EXAMPLES)][:EXAMPLES]
        return {
            model: [picture for case in chosen if (picture := self.take(model, case)) is not None] for model in models
        }

    def grids(self, found: Found, models: Sequence[str]) -> list[GridShown]:
        """Every grid of every model."""
        cases = {case.key: case for case in found.cases}
        return [
            GridShown(grid, model, [[self.take(model, cases[key]) for key in row] for row in grid.keys])
            for grid in found.score.grids
            for model in models
        ]

    def over_steps(self, found: Found, models: Sequence[str]) -> list[StepRow]:
        """The first seed of some prompts, by each of the models."""
        by_item: dict[str, Case] = {}
        for case in found.cases:
            by_item.setdefault(case.item, case)
        cases = list(by_item.values())
        chosen = cases[:: max(1, len(cases) // STEP_ROWS)][:STEP_ROWS]
        rows = [StepRow(case.request.prompt, [self.take(model, case) for model in models]) for case in chosen]
        return [row for row in rows if any(row.pictures)]


def shown_over_steps(evaluation: Evaluation) -> list[str]:
    """Models whose pictures stand side by side: the baseline, then steps from first to last, evenly chosen."""
    steps = sorted(evaluation.steps, key=lambda model: evaluation.steps[model])
    before = [] if evaluation.baseline in steps else [evaluation.baseline]
    room = MOST_STEPS - len(before)
    if len(steps) > room:
        places = [round(place * (len(steps) - 1) / (room - 1)) for place in range(room)]
        steps = [steps[place] for place in places]
    return [*before, *steps]
