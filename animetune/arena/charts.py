"""Dots with their intervals on a common axis, as an SVG of the page's colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from animetune.figures import visible
from animetune.svg import CHART_WIDTH, Svg, add, chart, round_ticks

COLOURS = 4
"""Series that the page has colours for."""
_LEFT, _RIGHT, _TOP, _STEP, _GAP, _AXIS = 150.0, 48.0, 44.0, 17.0, 7.0, 24.0
_LABEL = 17
_WHISKER = "stroke: var(--series-{}); stroke-width: 2; stroke-linecap: round; fill: none"
_DOT = "fill: var(--series-{}); stroke: var(--card); stroke-width: 1.5"
_MIDDLE = "stroke: var(--muted); stroke-opacity: .55; stroke-dasharray: 3 4; fill: none"


class Dot(NamedTuple):
    """A number and its interval."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, ...]:
        """All that the axis must hold."""
        return tuple(each for each in self if each is not None)


def dot_chart(
    rows: Mapping[str, Sequence[Dot | None]],
    *,
    title: str,
    shown: Callable[[float], str],
    series: Sequence[str] = (),
    middle: float | None = None,
    limits: tuple[float, float] | None = None,
) -> Svg | None:
    """For each row a dot and whisker per series, the number behind; None where there is nothing to draw.

    `middle` is a dashed line; `limits` bound the axis, which otherwise is about as wide as what it
    holds.
    """
    shown_series = min(COLOURS, max((len(dots) for dots in rows.values()), default=0))
    drawn = {label: dots[:shown_series] for label, dots in rows.items() if any(dots[:shown_series])}
    if not drawn:
        return None
    ends = [end for dots in drawn.values() for dot in dots if dot is not None for end in dot.ends]
    ends += [] if middle is None else [middle]
    low, high = limits or (min(ends), max(ends))
    if limits is None:
        margin = 0.04 * (high - low) or 1.0
        low, high = low - margin, high + margin
    scale = (CHART_WIDTH - _LEFT - _RIGHT) / (high - low)
    height = _TOP + len(drawn) * (_STEP * shown_series + _GAP) + _AXIS
    names = [visible(name, 22) for name in series[:shown_series]] if len(series) > 1 else []
    root = chart(title, names, height=height)

    def place(value: float) -> float:
        return _LEFT + (min(max(value, low), high) - low) * scale

    bottom = height - _AXIS
    for tick in round_ticks(low, high, 4):
        add(root, "path", d=f"M{place(tick):.1f} {_TOP - 6:g}V{bottom:g}", class_="grid")
        add(root, "text", text=shown(tick), x=place(tick), y=bottom + 15, class_="middle")
    if middle is not None:
        add(root, "path", d=f"M{place(middle):.1f} {_TOP - 6:g}V{bottom:g}", style=_MIDDLE)
    y = _TOP
    for label, dots in drawn.items():
        told = visible(label, _LABEL)
        add(root, "text", text=told, x=_LEFT - 10, y=y + _STEP * shown_series / 2 + 4, class_="label")
        for number, dot in enumerate(dots):
            if dot is not None:
                _draw(root, label, dot, number, y + _STEP * (number + 0.5), place, shown)
        y += _STEP * shown_series + _GAP
    return Svg(root)


def _draw(
    root: ElementTree.Element,
    label: str,
    dot: Dot,
    colour: int,
    y: float,
    place: Callable[[float], float],
    shown: Callable[[float], str],
) -> None:
    group = add(root, "g")
    written = f"{visible(label, 80)}: {shown(dot.value)}"
    reach = place(dot.value) + 5
    if dot.low is not None and dot.high is not None:
        written += f", {shown(dot.low)} to {shown(dot.high)}"
        add(group, "path", d=f"M{place(dot.low):.1f} {y:g}H{place(dot.high):.1f}", style=_WHISKER.format(colour))
        reach = max(reach, place(dot.high))
    add(group, "title", text=written)
    add(group, "circle", cx=f"{place(dot.value):.1f}", cy=y, r=5, style=_DOT.format(colour))
    add(group, "text", text=shown(dot.value), x=reach + 5, y=y + 4, class_="value")
