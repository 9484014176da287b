"""Bars with their intervals, as an SVG of the page's colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.etree import ElementTree

from animetune.evaluate.measures import Group
from animetune.figures import CHART_WIDTH, Svg

COLOURS = 4
"""Series that the page has colours for; more models are in the table alone."""
_WHISKER = "stroke: var(--ink); stroke-opacity: .65; stroke-width: 1.2; fill: none"
_LEFT, _RIGHT, _BAR, _GAP, _TOP = 172.0, 64.0, 13.0, 10.0, 46.0


def interval_chart(
    groups: Sequence[Group], models: Sequence[str], *, title: str, shown: Callable[[float], str]
) -> Svg | None:
    """A bar for each group and model, with a whisker where there is an interval; None where nothing was measured.

    `shown` writes the number behind a bar.
    """
    groups = [group for group in groups if group.estimates]
    models = [model for model in models if any(model in group.estimates for group in groups)][:COLOURS]
    if not groups or not models:
        return None
    ends = [0.0]
    for group in groups:
        for each in group.estimates.values():
            ends += [each.value, *(each.interval or ())]
    low, high = min(ends), max(ends)
    scale = (CHART_WIDTH - _LEFT - _RIGHT) / ((high - low) or 1)
    zero = _LEFT - low * scale
    step = _BAR * len(models) + _GAP
    root = ElementTree.Element(
        "svg",
        {
            "viewBox": f"0 0 {CHART_WIDTH} {_TOP + step * len(groups):g}",
            "class": "chart",
            "role": "img",
            "aria-label": title,
        },
    )
    _text(root, title, 2, 15, "title")
    x = 2.0
    for place, model in enumerate(models):
        _shape(root, "rect", f"bar series-{place}", x=x, y=25, width=10, height=10, rx=2)
        label = _short(model, 24)
        _text(root, label, x + 14, 34)
        x += 28 + 7.4 * len(label)
    for place, group in enumerate(groups):
        top = _TOP + place * step
        _text(root, _short(group.title, 26), _LEFT - 8, top + _BAR * len(models) / 2 + 4, "label")
        for number, model in enumerate(models):
            estimate = group.estimates.get(model)
            if estimate is None:
                continue
            y = top + number * _BAR
            end = zero + estimate.value * scale
            bar = _shape(
                root, "rect", f"bar series-{number}", x=min(zero, end), y=y, width=max(abs(end - zero), 1),
                height=_BAR - 3, rx=2,
            )  # fmt: skip
            written = f"{group.title}, {model}: {shown(estimate.value)} of {estimate.n:,} pictures"
            ElementTree.SubElement(bar, "title").text = written
            reach = max(end, zero)
            if estimate.interval is not None:
                start, stop = (zero + each * scale for each in estimate.interval)
                middle = y + (_BAR - 3) / 2
                path = f"M{start:.1f} {middle:.1f}H{stop:.1f}M{start:.1f} {y + 2:.1f}v6M{stop:.1f} {y + 2:.1f}v6"
                ElementTree.SubElement(root, "path", {"d": path, "style": _WHISKER})
                reach = max(reach, stop)
            _text(root, shown(estimate.value), reach + 5, y + 10, "value")
    return Svg(root)


def _shape(root: ElementTree.Element, tag: str, kind: str, **numbers: float) -> ElementTree.Element:
    attributes = {name: f"{value:.6g}" for name, value in numbers.items()}
    return ElementTree.SubElement(root, tag, {**attributes, "class": kind})


def _text(root: ElementTree.Element, text: str, x: float, y: float, kind: str = "") -> None:
    element = ElementTree.SubElement(root, "text", {"x": f"{x:.6g}", "y": f"{y:.6g}", "class": kind})
    element.text = text


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
