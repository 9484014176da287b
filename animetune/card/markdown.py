"""Markdown from plain values: tables, code, numbers. Whatever comes from data is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from animetune.figures import visible

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def escape(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no line ends, nothing hidden."""
    return _SPECIAL.sub(r"\\\1", visible(text))


def code(text: str) -> str:
    """Text between backticks, also in a table; more backticks where it has some itself."""
    shown = visible(text).replace("|", "\\|")
    if not shown.strip():
        return "(empty)"
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest or shown != shown.strip() else ""
    return f"{fence}{space}{shown}{space}{fence}"


def block(text: str, language: str = "") -> str:
    """A fenced block of code, whatever backticks are in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """A table of cells that are Markdown already; columns `numbers` stand to the right. Empty without rows."""
    lines = [" | ".join(cell or " " for cell in row) for row in rows]
    if not lines:
        return ""
    marks = ["---:" if place in numbers else "---" for place in range(len(header))]
    return "\n".join(f"| {line} |" for line in (" | ".join(header), " | ".join(marks), *lines))


def bullets(lines: Iterable[str]) -> str:
    """A list; lines are Markdown already."""
    return "\n".join(f"- {line}" for line in lines)


def number(value: float) -> str:
    """`873,504`, `7.5e-6`, `0.0357`, `95`."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.1f}"
    shown = f"{value:.6g}"
    if abs(value) < 1e-3 and "e" not in shown:
        shown = f"{value:.6e}"
    mantissa, e, exponent = shown.partition("e")
    if not e:
        return shown
    return f"{float(mantissa):g}e{int(exponent)}"


def share(part: float, whole: float) -> str:
    """`12.5 %`."""
    return f"{100 * part / whole:.1f} %" if whole else "-"
