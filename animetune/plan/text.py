"""The look of the plans: titled blocks of lines, bars, curves and counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BAR = 40
"""Characters of the longest bar."""
BLOCKS = "▁▂▃▄▅▆▇█"
"""Characters of a curve, from low to high."""


def section(title: str, lines: Iterable[str]) -> list[str]:
    """A title, its lines indented, and an empty line; nothing without lines."""
    found = list(lines)
    return [f"{title}:", *(f"    {line}" for line in found), ""] if found else []


def bar(part: float, most: float) -> str:
    """A bar that is `BAR` long when `part` is `most`."""
    return "#" * round(BAR * part / most) if most else ""


def curve(values: Sequence[float]) -> str:
    """A line of blocks, one a value, from 0 to the greatest value."""
    most = max(values, default=0.0) or 1.0
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int(len(BLOCKS) * value / most))] for value in values)


def counted(count: int, noun: str) -> str:
    """`1 size`, `1,000 sizes`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
