"""Dots with their intervals on a common axis, as an SVG of the page's colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from animetune.figures import CHART_WIDTH, Svg, visible

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
    ticks = _ticks(low, high)
    scale = (CHART_WIDTH - _LEFT - _RIGHT) / (high - low)
    height = _TOP + len(drawn) * (_STEP * shown_series + _GAP) + _AXIS
    root = ElementTree.Element("svg", {
        "viewBox": f"0 0 {CHART_WIDTH} {height:g}", "class": "chart", "role": "img", "aria-label": title
    })  # fmt: skip

    def place(value: float) -> float:
        return _LEFT + (min(max(value, low), high) - low) * scale

    _text(root, title, 2, 15, "title")
    _legend(root, series[:shown_series])
    bottom = height - _AXIS
    for tick in ticks:
        _path(root, f"M{place(tick):.1f} {_TOP - 6:g}V{bottom:g}", class_="grid")
        _text(root, shown(tick), place(tick), bottom + 15, "middle")
    if middle is not None:
        _path(root, f"M{place(middle):.1f} {_TOP - 6:g}V{bottom:g}", style=_MIDDLE)
    y = _TOP
    for label, dots in drawn.items():
        _text(root, visible(label, _LABEL), _LEFT - 10, y + _STEP * shown_series / 2 + 4, "label")
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
    group = ElementTree.SubElement(root, "g")
    written = f"{visible(label, 80)}: {shown(dot.value)}"
    reach = place(dot.value) + 5
    if dot.low is not None and dot.high is not None:
        written += f", {shown(dot.low)} to {shown(dot.high)}"
        _path(group, f"M{place(dot.low):.1f} {y:g}H{place(dot.high):.1f}", style=_WHISKER.format(colour))
        reach = max(reach, place(dot.high))
    ElementTree.SubElement(group, "title").text = written
    ElementTree.SubElement(
        group, "circle", {"cx": f"{place(dot.value):.1f}", "cy": f"{y:g}", "r": "5", "style": _DOT.format(colour)}
    )
    _text(group, shown(dot.value), reach + 5, y + 4, "value")


def _legend(root: ElementTree.Element, series: Sequence[str]) -> None:
    x = 2.0
    for number, name in enumerate(series if len(series) > 1 else ()):
        ElementTree.SubElement(root, "circle", {"cx": f"{x + 5:g}", "cy": "29", "r": "5", "style": _DOT.format(number)})
        label = visible(name, 22)
        _text(root, label, x + 14, 33)
        x += 28 + 7.2 * len(label)


def _ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in (1, 2, 5, 10) if nice * power >= rough * 0.9)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _path(parent: ElementTree.Element, d: str, *, class_: str = "", style: str = "") -> None:
    ElementTree.SubElement(
        parent, "path", {"d": d, **({"class": class_} if class_ else {}), **({"style": style} if style else {})}
    )


def _text(parent: ElementTree.Element, text: str, x: float, y: float, kind: str = "") -> None:
    element = ElementTree.SubElement(parent, "text", {"x": f"{x:.6g}", "y": f"{y:.6g}", "class": kind})
    element.text = text
