"""Findings: what a probe saw, and how they are shown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "problem"]

WIDTH = 118
"""Columns of the page."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: State
    """`ok`; `note`, what may matter; `problem`, what will not work."""
    what: str
    """A word or two, as `driver`."""
    text: str
    """What was found."""
    remedy: str = ""
    """What to do about it."""


@dataclass(frozen=True)
class Group:
    """Findings on one subject."""

    title: str
    findings: tuple[Finding, ...]


Probe = Callable[[], Iterable[Finding]]


def ok(what: str, text: str) -> Finding:
    """All is well."""
    return Finding("ok", what, text)


def note(what: str, text: str, remedy: str = "") -> Finding:
    """It may matter."""
    return Finding("note", what, text, remedy)


def problem(what: str, text: str, remedy: str) -> Finding:
    """It will not work."""
    return Finding("problem", what, text, remedy)


def look(title: str, probes: dict[str, Probe]) -> Group:
    """What the probes found; one that fails is a finding itself, named as in `probes`."""
    return Group(title, tuple(finding for name, probe in probes.items() for finding in _guarded(name, probe)))


def is_well(groups: Iterable[Group]) -> bool:
    """Whether there is no problem."""
    return all(finding.state != "problem" for group in groups for finding in group.findings)


def rendered(groups: Sequence[Group]) -> list[str]:
    """The findings as lines: aligned, wrapped, remedies below what they are for; the last line counts them."""
    findings = [finding for group in groups for finding in group.findings]
    widest = max((len(finding.what) for finding in findings), default=0)
    lines: list[str] = []
    for group in groups:
        if group.findings:
            lines += [f"{group.title}:", *(line for each in group.findings for line in _lines(each, widest)), ""]
    counts = [f"{sum(each.state == state for each in findings)} {name}" for state, name in _COUNTED]
    return [*lines, ", ".join(counts)]


_COUNTED = (("problem", "problems"), ("note", "notes"), ("ok", "ok"))


def _lines(finding: Finding, widest: int) -> Iterator[str]:
    head = f"    {finding.state:<8} {finding.what:<{widest}}  "
    yield from _wrapped(finding.text, head, " " * len(head))
    if finding.remedy:
        indent = " " * len(head)
        yield from _wrapped(finding.remedy, f"{indent}-> ", f"{indent}   ")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    plain = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return textwrap.wrap(
        plain,
        max(WIDTH, len(first) + 40),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _guarded(name: str, probe: Probe) -> Iterator[Finding]:
    try:
        yield from probe()
    except Exception as error:  # whatever it is, the other probes go on
        said = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        yield note(name, f"could not be looked at: {type(error).__name__}: {said}")
