"""The page of an evaluation: what was found first, then each probe with its numbers and its worst pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from animetune import figures
from animetune.evaluate.cases import Answers, Case
from animetune.evaluate.charts import COLOURS, interval_chart
from animetune.evaluate.measures import Difference, Estimate, Measure
from animetune.evaluate.probes.rating import rating_of
from animetune.evaluate.probes.shape import Grid
from animetune.evaluate.results import Evaluation, Found
from animetune.figures import Svg

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL, GRID_THUMBNAIL = 256, 160
VEILED = ("questionable", "explicit")
"""Ratings, of the tagger or asked for, whose pictures are blurred until they are clicked."""


class Picture(NamedTuple):
    """A picture of the page."""

    file: Path
    prompt: str
    note: str
    is_veiled: bool


class Row(NamedTuple):
    """A line of a table of estimates."""

    title: str
    estimates: Sequence[tuple[str, str]]
    """For each model: the number, and its interval and count."""
    changes: Sequence[tuple[str, str]]
    """For each model but the baseline."""


class Shown(NamedTuple):
    """A measure, ready to be written."""

    measure: Measure
    hint: str
    chart: Svg | None
    rows: Sequence[Row]
    contrasts: Sequence[Row]


class GridShown(NamedTuple):
    """A grid of one model."""

    grid: Grid
    model: str
    pictures: Sequence[Sequence[Picture | None]]


def write(path: Path, evaluation: Evaluation, answers: Answers, pictures: Mapping[str, Mapping[str, Path]]) -> None:
    """Write report.html; `pictures` are the files by model and key of a case."""
    environment = figures.page_environment(TEMPLATES)
    environment.filters["thumbnail"] = figures.thumbnail
    others = [model for model in evaluation.models if model != evaluation.baseline]
    sections = [
        ("summary", "Summary"),
        *((found.name, found.name.replace("_", " ").capitalize()) for found in evaluation.probes),
        ("setup", "Setup"),
    ]
    shelf = _Shelf(answers, pictures)
    html = environment.get_template("evaluate.html.j2").render(
        title=evaluation.title,
        sections=sections,
        evaluation=evaluation,
        models=list(evaluation.models),
        others=others,
        colours=COLOURS,
        summary=[(found, _summary(found, evaluation.models, others)) for found in evaluation.probes],
        probes=[_probe(found, evaluation, others, shelf) for found in evaluation.probes],
        thumbnail_side=THUMBNAIL,
        grid_side=GRID_THUMBNAIL,
    )
    figures.write_page(path, html)


def number(value: float, unit: str) -> str:
    """`12.5 %` of a share, three digits of a mean."""
    return f"{100 * value:.1f} %" if unit == "share" else f"{value:.3f}"


def estimate_text(estimate: Estimate | None, unit: str) -> tuple[str, str]:
    """The number, and what stands small beside it."""
    if estimate is None:
        return "–", ""
    count = f"{estimate.count:,} of {estimate.n:,}" if estimate.count is not None else f"n {estimate.n:,}"
    if estimate.interval is None:
        return number(estimate.value, unit), f"{count}; one prompt, no interval"
    ends = " to ".join(number(end, unit) for end in estimate.interval)
    return number(estimate.value, unit), f"{ends}; {count}"


def difference_text(change: Difference | None, unit: str) -> tuple[str, str]:
    """The signed change in points of a share or as it is, and its interval, p and pairs."""
    if change is None:
        return "–", ""
    factor, digits = (100, 1) if unit == "share" else (1, 3)
    told = f"{factor * change.value:+.{digits}f}" + (" points" if unit == "share" else "")
    parts = []
    if change.interval is not None:
        parts.append(" to ".join(f"{factor * end:+.{digits}f}" for end in change.interval))
    if change.p is not None:
        parts.append(f"p {change.p:.3f}" if change.p >= 0.001 else "p < 0.001")
    return told, "; ".join([*parts, f"{change.pairs:,} pairs"])


class _Shelf:
    """Pictures by model and key."""

    def __init__(self, answers: Answers, pictures: Mapping[str, Mapping[str, Path]]):
        self._answers = answers
        self._pictures = pictures

    def take(self, model: str, case: Case, note: str) -> Picture | None:
        file = self._pictures.get(model, {}).get(case.key)
        if file is None:
            return None
        answer = self._answers.get(model, {}).get(case.key, {})
        is_veiled = rating_of(answer) in VEILED or case.facts.get("expected") in VEILED
        return Picture(file, case.request.prompt, note, is_veiled)


def _probe(found: Found, evaluation: Evaluation, others: Sequence[str], shelf: _Shelf) -> dict[str, Any]:
    cases = {case.key: case for case in found.cases}
    models = list(evaluation.models)
    worst = {
        model: [picture for each in shown if (picture := shelf.take(model, cases[each.key], each.note)) is not None]
        for model, shown in found.score.worst.items()
    }
    examples = {}
    if not any(worst.values()) and not found.score.grids:
        step = max(1, len(found.cases) // 6)
        chosen = found.cases[::step][:6]
        examples = {
            model: [picture for case in chosen if (picture := shelf.take(model, case, "")) is not None]
            for model in models
        }
    return {
        "found": found,
        "measures": [_shown(measure, models, others) for measure in found.score.measures if _has_numbers(measure)],
        "worst": worst if any(worst.values()) else {},
        "examples": examples,
        "grids": [
            GridShown(grid, model, [[shelf.take(model, cases[key], "") for key in row] for row in grid.keys])
            for grid in found.score.grids
            for model in models
        ],
    }


def _shown(measure: Measure, models: Sequence[str], others: Sequence[str]) -> Shown:
    unit = measure.unit
    hint = {"lower": "less is better", "higher": "more is better", None: ""}[measure.better]
    write_number: Callable[[float], str] = lambda value: number(value, unit)  # noqa: E731
    rows = [
        Row(
            group.title,
            [estimate_text(group.estimates.get(model), unit) for model in models],
            [difference_text(group.changes.get(model), unit) for model in others],
        )
        for group in measure.groups
    ]
    contrasts = [
        Row(each.title, [difference_text(each.differences.get(model), unit) for model in models], [])
        for each in measure.contrasts
        if each.differences
    ]
    return Shown(
        measure, hint, interval_chart(measure.groups, models, title=measure.title, shown=write_number), rows, contrasts
    )


def _summary(found: Found, models: Mapping[str, str], others: Sequence[str]) -> Shown | None:
    """The first measure with its first two groups: what a reader looks for."""
    measures = [measure for measure in found.score.measures if _has_numbers(measure)]
    if not measures:
        return None
    shown = _shown(measures[0], list(models), others)
    return shown._replace(rows=shown.rows[:2])


def _has_numbers(measure: Measure) -> bool:
    return any(group.estimates for group in measure.groups)
