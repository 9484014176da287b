"""The parts of SVG charts: the chart with its title and legend, elements, ticks.

A chart is built as a tree, so that text in it is escaped by construction. Its colours are classes, which the style
sheet of the page (`figures`) fills.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

CHART_WIDTH, CHART_HEIGHT = 480, 240
"""Size of a chart in its own units; on the page it is as wide as its column."""


@dataclass(frozen=True)
class Svg:
    """A chart; `str` and Jinja2 render it as markup."""

    root: ElementTree.Element

    def __str__(self) -> str:
        return ElementTree.tostring(self.root, encoding="unicode")

    __html__ = __str__


def chart(title: str, legend: Sequence[str], *, height: float = CHART_HEIGHT) -> ElementTree.Element:
    """An empty chart with its title, and a legend below it."""
    root = ElementTree.Element("svg")
    root.attrib.update(
        {"viewBox": f"0 0 {CHART_WIDTH} {height:g}", "class": "chart", "role": "img", "aria-label": title}
    )
    add(root, "text", text=title, x=2, y=15, class_="title")
    x = 2.0
    for place, label in enumerate(legend):
        add(root, "rect", x=x, y=25, width=10, height=10, rx=2, class_=f"bar series-{place}")
        add(root, "text", text=shorten(label, 30), x=x + 14, y=34)
        x += 28 + 7.4 * len(shorten(label, 30))
    return root


def add(
    parent: ElementTree.Element, tag: str, *, text: str = "", class_: str = "", **numbers: float | str
) -> ElementTree.Element:
    """A new element in `parent`; numbers are written with six digits."""
    element = ElementTree.SubElement(parent, tag)
    for name, value in numbers.items():
        element.set(name, value if isinstance(value, str) else f"{value:.6g}")
    if class_:
        element.set("class", class_)
    if text:
        element.text = text
    return element


def tick_step(low: float, high: float, steps: int = 6) -> float:
    """A step of 1, 2 or 5 times a power of ten that makes about so many steps."""
    rough = (high - low) / steps
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(nice for nice in (1, 2, 5, 10) if nice * power >= rough * 0.9)


def round_ticks(low: float, high: float, steps: int = 6) -> list[float]:
    """The multiples of `tick_step` within the limits."""
    step = tick_step(low, high, steps)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def shorten(text: str, limit: int) -> str:
    """The text, cut with an ellipsis where it is longer."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
