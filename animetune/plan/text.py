"""The look of the plans: titled blocks of lines, bars, curves and counts."""

from __future__ import annotations

import math
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


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of a table as lines, the first of them its heads: words flush left, numbers flush right, two blanks between.

    A column is of numbers when every cell below its head begins like one, or says that there is none (`?`, `-`).
    """
    listed = [list(row) for row in rows]
    columns = list(zip(*listed, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in listed
    ]


def about(value: float) -> str:
    """Two significant digits, as an estimate deserves: `720`, `1,200`, `0.034`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(0, digits)}f}" if abs(value) < 10 else f"{rounded:,.0f}"


def _is_number(cell: str) -> bool:
    return cell in ("", "?", "-") or cell[0].isdigit()
