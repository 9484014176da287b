"""The page of an evaluation: what was found first, then each probe with its numbers and its worst pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from animetune import figures
from animetune.evaluate.cases import Answers
from animetune.evaluate.charts import COLOURS, interval_chart
from animetune.evaluate.curves import histogram_charts, step_chart
from animetune.evaluate.measures import Difference, Estimate, Measure
from animetune.evaluate.page_pictures import Shelf, shown_over_steps
from animetune.evaluate.results import Evaluation, Found
from animetune.svg import Svg

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL, GRID_THUMBNAIL = 256, 160
FOLDED_ROWS = 12
"""A table of more rows below its chart is folded."""
LARGE = 1000
"""From here on a mean is written with one digit behind the point."""
IN_TIME = 2
"""Groups of a measure that are shown over training time."""


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


def write(path: Path, evaluation: Evaluation, answers: Answers, pictures: Mapping[str, Mapping[str, Path]]) -> None:
    """Write report.html; `pictures` are the files by model and key of a case."""
    environment = figures.page_environment(TEMPLATES)
    environment.filters["thumbnail"] = figures.thumbnail
    others = [model for model in evaluation.models if model != evaluation.baseline]
    in_time = len(evaluation.steps) > 1
    sections = [
        *([("time", "Over training time")] if in_time else []),
        ("summary", "Summary"),
        *((found.name, found.name.replace("_", " ").capitalize()) for found in evaluation.probes),
        ("setup", "Setup"),
    ]
    shelf = Shelf(answers, pictures)
    html = environment.get_template("evaluate.html.j2").render(
        title=evaluation.title,
        sections=sections,
        evaluation=evaluation,
        models=list(evaluation.models),
        others=others,
        colours=COLOURS,
        folded_rows=FOLDED_ROWS,
        summary=[(found, _summary(found, evaluation, others)) for found in evaluation.probes if found.score.in_summary],
        in_time=in_time,
        step_models=shown_over_steps(evaluation),
        times=[_over_time(found, evaluation, shelf) for found in evaluation.probes] if in_time else [],
        probes=[_probe(found, evaluation, others, shelf) for found in evaluation.probes],
        thumbnail_side=THUMBNAIL,
        grid_side=GRID_THUMBNAIL,
    )
    figures.write_page(path, html)


def number(value: float, unit: str) -> str:
    """`12.5 %` of a share, three digits of a mean behind the point, or one of thousands."""
    if unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:,.1f}" if abs(value) >= LARGE else f"{value:.3f}"


def estimate_text(estimate: Estimate | None, unit: str) -> tuple[str, str]:
    """The number, and what stands small beside it."""
    if estimate is None:
        return "–", ""
    count = f"{estimate.count:,} of {estimate.n:,}" if estimate.count is not None else f"n {estimate.n:,}"
    if estimate.interval is None:
        return number(estimate.value, unit), f"{count}; too few for an interval"
    ends = " to ".join(number(end, unit) for end in estimate.interval)
    return number(estimate.value, unit), f"{ends}; {count}"


def difference_text(change: Difference | None, unit: str) -> tuple[str, str]:
    """The signed change in points of a share or as it is, and its interval, p and pairs."""
    if change is None:
        return "–", ""
    factor, digits = (100, 1) if unit == "share" else (1, 3)
    told = _signed(factor * change.value, digits) + (" points" if unit == "share" else "")
    parts = []
    if change.interval is not None:
        parts.append(" to ".join(_signed(factor * end, digits) for end in change.interval))
    if change.p is not None:
        parts.append(f"p {change.p:.3f}" if change.p >= 0.001 else "p < 0.001")
    return told, "; ".join([*parts, f"{change.pairs:,} pair{'' if change.pairs == 1 else 's'}"])


def _signed(value: float, digits: int) -> str:
    """No minus zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def _probe(found: Found, evaluation: Evaluation, others: Sequence[str], shelf: Shelf) -> dict[str, Any]:
    models = list(evaluation.models)
    worst = shelf.worst(found)
    return {
        "found": found,
        "measures": [_shown(measure, evaluation, others) for measure in found.score.measures if _has_numbers(measure)],
        "histograms": [chart for histogram in found.score.histograms for chart in histogram_charts(histogram, models)],
        "worst": worst,
        "examples": {} if worst or found.score.grids else shelf.examples(found, models),
        "grids": shelf.grids(found, models),
    }


def _over_time(found: Found, evaluation: Evaluation, shelf: Shelf) -> dict[str, Any]:
    """The first measure of a probe by step, and some of its pictures."""
    measures = [measure for measure in found.score.measures if _has_numbers(measure)][:1]
    charts = [
        step_chart(
            measure.groups[:IN_TIME],
            evaluation.steps,
            evaluation.baseline,
            title=measure.title,
            shown=_writer(measure),
        )
        for measure in measures
    ]
    return {
        "found": found,
        "charts": [chart for chart in charts if chart is not None],
        "rows": shelf.over_steps(found, shown_over_steps(evaluation)),
    }


def _charted(evaluation: Evaluation) -> list[str]:
    """The models that bars have colours for: all, or the baseline and the last of them."""
    models = list(evaluation.models)
    if len(models) <= COLOURS:
        return models
    last = [model for model in models if model != evaluation.baseline][1 - COLOURS :]
    return [model for model in models if model == evaluation.baseline or model in last]


def _shown(measure: Measure, evaluation: Evaluation, others: Sequence[str]) -> Shown:
    unit, models = measure.unit, list(evaluation.models)
    hint = {"lower": "less is better", "higher": "more is better", None: ""}[measure.better]
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
        measure,
        hint,
        interval_chart(measure.groups, _charted(evaluation), title=measure.title, shown=_writer(measure)),
        rows,
        contrasts,
    )


def _summary(found: Found, evaluation: Evaluation, others: Sequence[str]) -> Shown | None:
    """The first measure with its first two groups, or with its contrasts alone: what a reader looks for."""
    measures = [measure for measure in found.score.measures if _has_numbers(measure)]
    if not measures:
        return None
    shown = _shown(measures[0], evaluation, others)
    return shown._replace(rows=[] if found.score.only_contrasts else shown.rows[:2])


def _writer(measure: Measure) -> Callable[[float], str]:
    return lambda value: number(value, measure.unit)


def _has_numbers(measure: Measure) -> bool:
    return any(group.estimates for group in measure.groups)
