"""Measures: one number a picture, as shares or means by group and model, with differences from the baseline.

    measure(...)    values of all models -> groups, each with an estimate a model and what changed from the baseline
    contrast(...)   of one model: two arms of the same prompts, seeds and sizes

A picture that no scorer answered, or that is missing, is in no number; `n` says how many are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from animetune.evaluate.cases import Answer, Answers, Case
from animetune.evaluate.intervals import bootstrap, mcnemar
from animetune.intervals import Interval, wilson

Unit = Literal["share", "mean"]
Better = Literal["lower", "higher"]
Value = Callable[[Case, Answer], float | None]
"""Of one picture; shares are means of 0 and 1. None where it cannot be said."""
Values = Mapping[str, Mapping[str, float]]
"""Model -> key of a case -> value."""


@dataclass(frozen=True)
class Estimate:
    """A share or a mean of `n` pictures."""

    value: float
    n: int
    interval: Interval | None
    count: int | None = None
    """Of a share: how many pictures have it."""


@dataclass(frozen=True)
class Difference:
    """Second minus first, over `pairs` of pictures."""

    value: float
    pairs: int
    interval: Interval | None
    only_first: int | None = None
    """Of a share: pairs of which only the first has it."""
    only_second: int | None = None
    p: float | None = None
    """Of a share: exact McNemar."""


@dataclass(frozen=True)
class Group:
    """Some of the cases: an estimate for each model that has pictures of them, and its change from the baseline."""

    title: str
    estimates: Mapping[str, Estimate]
    changes: Mapping[str, Difference]
    """Model, but for the baseline -> model minus baseline, over the same prompts, seeds and sizes."""


@dataclass(frozen=True)
class Contrast:
    """What one arm does against another, in each model."""

    title: str
    differences: Mapping[str, Difference]


@dataclass(frozen=True)
class Measure:
    """What is measured, by group."""

    name: str
    title: str
    unit: Unit
    better: Better | None
    groups: Sequence[Group]
    contrasts: Sequence[Contrast] = ()


def values_of(cases: Sequence[Case], answers: Answers, value: Value) -> dict[str, dict[str, float]]:
    """The value of every picture that has one."""
    found: dict[str, dict[str, float]] = {}
    for model, answered in answers.items():
        by_case = {case.key: value(case, answered[case.key]) for case in cases if case.key in answered}
        found[model] = {key: float(number) for key, number in by_case.items() if number is not None}
    return found


def group(title: str, cases: Sequence[Case], values: Values, *, unit: Unit, baseline: str, name: str) -> Group:
    """The estimates of some cases; `name` keeps the random draws of its intervals apart from those of others."""
    estimates, changes = {}, {}
    for model, numbers in values.items():
        mine = [(case.item, numbers[case.key]) for case in cases if case.key in numbers]
        if mine:
            estimates[model] = _estimate(mine, unit, f"{name}/{title}/{model}")
        first = values.get(baseline, {})
        both = [case for case in cases if case.key in numbers and case.key in first]
        if both and model != baseline:
            pairs = [(case.item, first[case.key], numbers[case.key]) for case in both]
            changes[model] = difference(pairs, unit, f"{name}/{title}/{baseline}/{model}")
    return Group(title, estimates, changes)


def contrast(
    title: str, first: Sequence[Case], second: Sequence[Case], values: Values, *, unit: Unit, name: str
) -> Contrast:
    """Second minus first arm in each model, over the prompts, seeds and sizes that both have."""
    by_pair = {case.pair: case for case in first}
    matched = [(by_pair[case.pair], case) for case in second if case.pair in by_pair]
    found = {}
    for model, numbers in values.items():
        pairs = [(b.item, numbers[a.key], numbers[b.key]) for a, b in matched if a.key in numbers and b.key in numbers]
        if pairs:
            found[model] = difference(pairs, unit, f"{name}/{title}/{model}")
    return Contrast(title, found)


def difference(pairs: Sequence[tuple[str, float, float]], unit: Unit, purpose: str) -> Difference:
    """Of (prompt, first, second): the mean of second minus first, resampled by prompt, and McNemar's p of shares."""
    changes = [(item, second - first) for item, first, second in pairs]
    mean = float(np.mean([change for _, change in changes]))
    interval = bootstrap(_by_item(changes), purpose=purpose)
    if unit == "mean":
        return Difference(mean, len(pairs), interval)
    only_first = sum(first > second for _, first, second in pairs)
    only_second = sum(second > first for _, first, second in pairs)
    return Difference(mean, len(pairs), interval, only_first, only_second, mcnemar(only_first, only_second))


def as_json(measure: Measure) -> dict[str, Any]:
    """For results.json: groups and contrasts by title."""
    return {
        "title": measure.title,
        "unit": measure.unit,
        "better": measure.better,
        "groups": {
            each.title: {
                "models": {model: _estimate_json(estimate) for model, estimate in each.estimates.items()},
                "changes": {model: _difference_json(change) for model, change in each.changes.items()},
            }
            for each in measure.groups
        },
        "contrasts": {
            each.title: {model: _difference_json(change) for model, change in each.differences.items()}
            for each in measure.contrasts
        },
    }


def _estimate(values: Sequence[tuple[str, float]], unit: Unit, purpose: str) -> Estimate:
    numbers = [value for _, value in values]
    if unit == "share":
        count = sum(value > 0 for value in numbers)
        return Estimate(count / len(numbers), len(numbers), wilson(count, len(numbers)), count)
    return Estimate(float(np.mean(numbers)), len(numbers), bootstrap(_by_item(values), purpose=purpose))


def _by_item(values: Sequence[tuple[str, float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for item, value in values:
        found.setdefault(item, []).append(value)
    return found


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    written: dict[str, Any] = {
        "value": _rounded(estimate.value),
        "n": estimate.n,
        "interval": _interval_json(estimate.interval),
    }
    return written if estimate.count is None else {**written, "count": estimate.count}


def _difference_json(change: Difference) -> dict[str, Any]:
    written: dict[str, Any] = {
        "value": _rounded(change.value),
        "pairs": change.pairs,
        "interval": _interval_json(change.interval),
    }
    if change.p is None:
        return written
    return {**written, "only_first": change.only_first, "only_second": change.only_second, "p": _rounded(change.p)}


def _interval_json(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [_rounded(interval.low), _rounded(interval.high)]


def _rounded(value: float) -> float:
    """Six digits; no minus zero."""
    return float(f"{value:.6g}") + 0.0
