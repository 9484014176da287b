"""Which step an override is for: `--set STEP.key=value`, `--set STAGE:key=value`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from animetune.yamltree import shortened


class Given(NamedTuple):
    """An override of a step."""

    typed: str
    """As it stands on the command line."""
    setting: str
    """As the step's own file would take it."""

    @property
    def place(self) -> str:
        """How the step's own file says where it is."""
        return f"--set {shortened(self.setting)}"

    @property
    def typed_place(self) -> str:
        """How the recipe does."""
        return f"--set {shortened(self.typed)}"


@dataclass(frozen=True)
class Sorted:
    """Overrides by step."""

    by_step: Mapping[str, Sequence[Given]]
    problems: Sequence[str]
    """Those that are of no step."""

    def of_step(self, name: str) -> Sequence[Given]:
        """In the order of the command line, so that a later one wins."""
        return self.by_step.get(name, ())

    def as_typed(self, problem: str, step: str) -> str:
        """A problem of a step's file, with what was typed where it is in an override."""
        for given in self.of_step(step):
            if problem.startswith(given.place):
                return given.typed_place + problem.removeprefix(given.place)
        return problem

    def with_steps(self, problem: str, steps: Sequence[str]) -> str:
        """A problem of an override for several steps says in which of them it is, unless it is in all."""
        for given in self.of_step(steps[0]):
            if problem.startswith(given.typed_place):
                meant = [name for name, overrides in self.by_step.items() if given in overrides]
                return problem if len(meant) == len(steps) else f"{problem} (step {', '.join(steps)})"
        return problem


def sort_overrides(overrides: Sequence[str], steps: Mapping[str, str], own: Sequence[str]) -> Sorted:
    """Sort overrides that are not of the recipe itself by step.

    `steps` is step -> stage; of several steps whose name begins the key, the longest is meant. `own` names the
    settings of the recipe, for suggestions.
    """
    by_step: dict[str, list[Given]] = {name: [] for name in steps}
    found = []
    for override in overrides:
        dotted, equals, value = override.partition("=")
        stage, colon, key = dotted.partition(":")
        meant: list[str]
        if colon and not stage.count("."):
            meant, rest = [name for name, of in steps.items() if of == stage.strip()], key.strip()
            wanted = stage.strip()
        else:
            name = _longest(dotted.strip(), steps)
            meant, rest = [name] if name else [], dotted.strip()[len(name) + 1 :] if name else ""
            wanted = dotted.strip()
        place = f"--set {shortened(override)}"
        if not equals or (meant and not rest):
            found.append(f"{place}: should be STEP.key=value or STAGE:key=value, as in `--set train:loop.steps=20`")
            continue
        if not meant:
            found.append(f"{place}: {_nothing_meant(wanted, bool(colon), steps, own)}")
        for name in meant:
            by_step[name].append(Given(override, f"{rest}={value}"))
    return Sorted({name: given for name, given in by_step.items() if given}, found)


def _longest(dotted: str, steps: Mapping[str, str]) -> str:
    return max((name for name in steps if f"{dotted}.".startswith(f"{name}.")), key=len, default="")


def _nothing_meant(wanted: str, is_stage: bool, steps: Mapping[str, str], own: Sequence[str]) -> str:
    if is_stage:
        there = sorted({stage for stage in steps.values() if stage})
        close = difflib.get_close_matches(wanted, there, n=1)
        guess = f"did you mean '{close[0]}:'?" if close else f"there are {', '.join(there)}"
        return f"no step of this recipe is of the stage '{wanted}'; {guess}"
    # A step's name may hold dots, so compare with as many parts of what was typed as the name has.
    parts = wanted.split(".")
    scored = [
        (difflib.SequenceMatcher(None, ".".join(parts[: name.count(".") + 1]), name).ratio(), name)
        for name in (*steps, *own)
    ]
    best = max(scored, default=(0.0, ""))
    if best[0] >= 0.6:
        rest = wanted.split(".")[best[1].count(".") + 1 :]
        return f"no step of this recipe is named so, did you mean '{'.'.join([best[1], *rest])}'?"
    return f"'{parts[0]}' is no step of this recipe; there are {', '.join(steps)}"
