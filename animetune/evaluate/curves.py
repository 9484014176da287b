"""Charts of an evaluation with two axes: a measure over training time, and how a number is distributed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from animetune.evaluate.config import REFERENCE
from animetune.evaluate.measures import Group
from animetune.evaluate.probes.shape import Histogram
from animetune.figures import Line, format_number, line_chart
from animetune.svg import CHART_WIDTH, Svg, add, chart, shorten, tick_step

SERIES = 4
"""What the page has colours for."""
_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 260.0, 64.0, CHART_WIDTH - 24.0, 48.0, 222.0
_WHISKER = "stroke-width: 1.3; stroke-opacity: .6; fill: none"
_LEVEL = "stroke-width: 1.4; stroke-dasharray: 5 4; stroke-opacity: .75; fill: none"
_TICKS = 5


class _Plane(NamedTuple):
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return _LEFT + (value - self.x_low) / ((self.x_high - self.x_low) or 1) * (_RIGHT - _LEFT)

    def y(self, value: float) -> float:
        return _BOTTOM - (value - self.y_low) / ((self.y_high - self.y_low) or 1) * (_BOTTOM - _TOP)


def step_chart(
    groups: Sequence[Group], steps: Mapping[str, int], level: str, *, title: str, shown: Callable[[float], str]
) -> Svg | None:
    """Estimates of the models with a step over training time, with their intervals; a line a group, at most SERIES.

    `level` is a model without a step, such as the base, whose estimates are dashed lines; any other name draws none.
    None where fewer than two steps were measured.
    """
    groups = [group for group in groups if len(_points(group, steps)) > 1][:SERIES]
    if not groups:
        return None
    values = [0.0]
    for group in groups:
        for model, each in group.estimates.items():
            if model in steps or model == level:
                values += [each.value, *((each.interval or ()) if model in steps else ())]
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    tick = tick_step(low, high, _TICKS)
    top, bottom = math.ceil(high / tick - 1e-9) * tick, math.floor(low / tick + 1e-9) * tick
    plane = _Plane(min(steps.values()), max(steps.values()), bottom, top)
    root = chart(title, [group.title for group in groups], height=_HEIGHT)
    _axes(root, plane, tick, sorted(set(steps.values())), shown)
    for place, group in enumerate(groups):
        _draw(root, plane, place, group, steps, shown)
        base = group.estimates.get(level) if level not in steps else None
        if base is not None:
            path = add(
                root,
                "path",
                d=f"M{_LEFT:g} {plane.y(base.value):.1f}H{_RIGHT:g}",
                class_=f"line series-{place}",
                style=_LEVEL,
            )
            add(path, "title", text=f"{group.title}, {level}: {shown(base.value)}")
    return Svg(root)


def histogram_charts(histogram: Histogram, models: Sequence[str]) -> list[Svg]:
    """The shares of pictures in each bin as outlines: a few models to a chart, the real pictures in each."""
    named = [model for model in models if sum(histogram.counts.get(model, ()))]
    reference = [REFERENCE] if sum(histogram.counts.get(REFERENCE, ())) else []
    several = max(1, SERIES - len(reference))
    together = [named[start : start + several] for start in range(0, len(named), several)] or [[]]
    charts = []
    for some in together if named or reference else ():
        lines = [
            Line(shorten(name, 16), _outline(histogram.edges, histogram.counts[name])) for name in [*reference, *some]
        ]
        charts.append(line_chart(lines, title=histogram.title, x_label="share of pictures (y) by value"))
    return charts


def _points(group: Group, steps: Mapping[str, int]) -> list[tuple[int, str]]:
    return sorted((step, model) for model, step in steps.items() if model in group.estimates)


def _draw(
    root: ElementTree.Element,
    plane: _Plane,
    place: int,
    group: Group,
    steps: Mapping[str, int],
    shown: Callable[[float], str],
) -> None:
    points = _points(group, steps)
    places = [(plane.x(step), plane.y(group.estimates[model].value)) for step, model in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    add(root, "polyline", points=path, class_=f"line series-{place}")
    for (step, model), (x, y) in zip(points, places, strict=True):
        estimate = group.estimates[model]
        if estimate.interval is not None:
            low, high = (plane.y(end) for end in estimate.interval)
            add(root, "path", d=f"M{x:.1f} {low:.1f}V{high:.1f}", class_=f"line series-{place}", style=_WHISKER)
        dot = add(root, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.4, class_=f"bar series-{place}")
        ends = "" if estimate.interval is None else f" ({' to '.join(map(shown, estimate.interval))})"
        written = f"{group.title}, step {step:,}: {shown(estimate.value)}{ends}, n {estimate.n:,}"
        add(dot, "title", text=written)


def _axes(
    root: ElementTree.Element, plane: _Plane, tick: float, steps: Sequence[int], shown: Callable[[float], str]
) -> None:
    for number in range(round((plane.y_high - plane.y_low) / tick) + 1):
        value = plane.y_low + number * tick
        add(root, "path", d=f"M{_LEFT:g} {plane.y(value):.1f}H{_RIGHT:g}", class_="grid")
        add(root, "text", text=shown(value), x=_LEFT - 6, y=plane.y(value) + 4, class_="label")
    end = 0.0
    for step in steps:
        label = format_number(step)
        half = 3.8 * len(label) + 4
        if plane.x(step) - half > end:  # two labels never run into one
            x = min(plane.x(step), CHART_WIDTH - half)
            add(root, "text", text=label, x=x, y=_BOTTOM + 16, class_="middle")
            end = plane.x(step) + half
    add(root, "text", text="step", x=(_LEFT + _RIGHT) / 2, y=_BOTTOM + 32, class_="middle")


def _outline(edges: Sequence[float], counts: Sequence[int]) -> list[tuple[float, float]]:
    """The steps of a histogram as points, their sum 1."""
    total = sum(counts)
    points = [(float(edges[0]), 0.0)]
    for (start, end), count in zip(itertools.pairwise(edges), counts, strict=True):
        points += [(float(start), count / total), (float(end), count / total)]
    return [*points, (float(edges[-1]), 0.0)]
