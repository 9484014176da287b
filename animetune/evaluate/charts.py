"""Bars with their intervals, as an SVG of the page's colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from animetune.evaluate.measures import Group
from animetune.svg import CHART_WIDTH, Svg, add, chart, shorten

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
    root = chart(title, models, height=_TOP + step * len(groups))
    for place, group in enumerate(groups):
        top = _TOP + place * step
        label = shorten(group.title, 26)
        add(root, "text", text=label, x=_LEFT - 8, y=top + _BAR * len(models) / 2 + 4, class_="label")
        for number, model in enumerate(models):
            estimate = group.estimates.get(model)
            if estimate is None:
                continue
            y = top + number * _BAR
            end = zero + estimate.value * scale
            bar = add(
                root, "rect", x=min(zero, end), y=y, width=max(abs(end - zero), 1), height=_BAR - 3, rx=2,
                class_=f"bar series-{number}",
            )  # fmt: skip
            written = f"{group.title}, {model}: {shown(estimate.value)} of {estimate.n:,} pictures"
            add(bar, "title", text=written)
            reach = max(end, zero)
            if estimate.interval is not None:
                start, stop = (zero + each * scale for each in estimate.interval)
                middle = y + (_BAR - 3) / 2
                path = f"M{start:.1f} {middle:.1f}H{stop:.1f}M{start:.1f} {y + 2:.1f}v6M{stop:.1f} {y + 2:.1f}v6"
                add(root, "path", d=path, style=_WHISKER)
                reach = max(reach, stop)
            add(root, "text", text=shown(estimate.value), x=reach + 5, y=y + 10, class_="value")
    return Svg(root)
