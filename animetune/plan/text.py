"""The look of the plans: titled blocks of lines, bars and counts."""

from __future__ import annotations

from collections.abc import Iterable

BAR = 40
"""Characters of the longest bar."""


def section(title: str, lines: Iterable[str]) -> list[str]:
    """A title, its lines indented, and an empty line; nothing without lines."""
    found = list(lines)
    return [f"{title}:", *(f"    {line}" for line in found), ""] if found else []


def bar(part: float, most: float) -> str:
    """A bar that is `BAR` long when `part` is `most`."""
    return "#" * round(BAR * part / most) if most else ""


def counted(count: int, noun: str) -> str:
    """`1 size`, `1,000 sizes`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
