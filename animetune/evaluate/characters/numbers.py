"""Numbers of the pictures of characters: averages in which every character counts alike, and what was confused.

The references among themselves (`floor`) are what could be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from animetune.evaluate.cases import Case
from animetune.evaluate.characters.sets import CharacterSets, Seen
from animetune.evaluate.config import REFERENCE
from animetune.evaluate.intervals import bootstrap
from animetune.evaluate.measures import Better, Estimate, Group, Measure, Unit, Values, difference, group
from animetune.evaluate.probes.shape import Histogram, Matrix, Table
from animetune.intervals import wilson

ALL = "all characters"
BINS = 24
SHOWN = 20
"""Confusions of two characters that results.json lists, the most frequent ones."""


class Saying(NamedTuple):
    """What is measured of every picture."""

    name: str
    title: str
    unit: Unit
    better: Better
    of: Callable[[Seen], float]
    needs_others: bool = True
    """Whether it means nothing with a single character."""


def macro(by_character: Mapping[str, Sequence[Case]], values: Values, *, unit: Unit, baseline: str, name: str) -> Group:
    """The mean over characters of the means of their pictures; intervals resample characters.

    Where a share is none, or all, of every character, resampling has nothing to vary: then it is Wilson's of so many
    characters.
    """
    estimates, changes = {}, {}
    first = values.get(baseline, {})
    for model, numbers in values.items():
        own = _means(by_character, numbers)
        if own:
            means = list(own.values())
            interval = bootstrap({each: [mean] for each, mean in own.items()}, purpose=f"{name}/{ALL}/{model}")
            if unit == "share" and interval is not None and sum(means) in (0, len(means)):
                interval = wilson(round(sum(means)), len(means))
            estimates[model] = Estimate(float(np.mean(means)), len(numbers), interval)
        both = numbers.keys() & first.keys()
        if model != baseline and both:
            before = _means(by_character, {key: first[key] for key in both})
            after = _means(by_character, {key: numbers[key] for key in both})
            change = difference(
                [(each, before[each], after[each]) for each in after], "mean", f"{name}/{ALL}/{baseline}/{model}"
            )
            changes[model] = replace(change, pairs=len(both))
    return Group(ALL, estimates, changes)


def sayings(threshold: float) -> list[Saying]:
    """All that is measured."""
    same = f"The same character (difference up to {threshold:.4g})"
    return [
        Saying("difference", "Difference to the own references", "mean", "lower", lambda seen: seen.own, False),
        Saying("same", same, "share", "higher", lambda seen: float(seen.own <= threshold), False),
        Saying("recognised", "Nearest to its own references", "share", "higher", lambda seen: float(seen.is_nearest)),
        Saying("nearer", "Share of others' references nearer than the own", "mean", "lower", lambda seen: seen.nearer),
    ]


def measure(
    said: Saying, by_character: Mapping[str, Sequence[Case]], seen: Mapping[str, Mapping[str, Seen]], baseline: str
) -> Measure:
    """All characters, and each."""
    values = {model: {key: said.of(each) for key, each in pictures.items()} for model, pictures in seen.items()}
    name = f"characters/{said.name}"
    each = [
        group(character, cases, values, unit=said.unit, baseline=baseline, name=name)
        for character, cases in by_character.items()
    ]
    return Measure(
        said.name,
        said.title,
        said.unit,
        said.better,
        [macro(by_character, values, unit=said.unit, baseline=baseline, name=name), *each],
    )


def matrix(
    by_character: Mapping[str, Sequence[Case]], sets: CharacterSets, seen: Mapping[str, Mapping[str, Seen]]
) -> Matrix:
    """How often what was asked was nearest to whom; those who were asked come first."""
    columns = [*by_character, *(name for name in sets.names if name not in by_character)]

    def counts(pictures: Mapping[str, Seen], cases: Sequence[Case]) -> list[int]:
        nearest = [pictures[case.key].nearest for case in cases if case.key in pictures]
        return [nearest.count(name) for name in columns]

    return Matrix(
        "Asked (rows) and nearest (columns)",
        list(by_character),
        columns,
        {model: [counts(pictures, cases) for cases in by_character.values()] for model, pictures in seen.items()},
    )


def confusions(cases: Sequence[Case], pictures: Mapping[str, Seen]) -> list[dict[str, Any]]:
    """Who was asked and who came, where that differs, the most frequent first."""
    counts: dict[tuple[str, str], int] = {}
    for case in cases:
        if case.key in pictures and not pictures[case.key].is_nearest:
            pair = case.facts["character"], pictures[case.key].nearest
            counts[pair] = counts.get(pair, 0) + 1
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    return [{"asked": asked, "nearest": nearest, "count": count} for (asked, nearest), count in order]


def floor_table(floor: Mapping[str, Sequence[Seen]], threshold: float, has_others: bool) -> Table:
    """What a model would reach whose pictures are as real ones; `floor` has a character or more."""
    numbers = {character: _floor_numbers(seen, threshold) for character, seen in floor.items()}
    means = tuple(float(np.mean(each)) for each in zip(*numbers.values(), strict=True))
    counts = {ALL: sum(map(len, floor.values())), **{character: len(seen) for character, seen in floor.items()}}
    columns = ["references", "mean difference", "the same", "nearest to the own"]
    rows = {
        name: [str(counts[name]), f"{own:.3f}", f"{100 * same:.0f} %", f"{100 * nearest:.0f} %"]
        for name, (own, same, nearest) in {ALL: means, **numbers}.items()
    }
    shown = len(columns) if has_others else len(columns) - 1
    return Table(
        "The references of each character among themselves: each against all others of its character",
        columns[:shown],
        {name: row[:shown] for name, row in rows.items()},
    )


def _means(by_character: Mapping[str, Sequence[Case]], numbers: Mapping[str, float]) -> dict[str, float]:
    """Of the pictures of each character that has any."""
    of_each = {
        character: [numbers[case.key] for case in cases if case.key in numbers]
        for character, cases in by_character.items()
    }
    return {character: float(np.mean(own)) for character, own in of_each.items() if own}


def _floor_numbers(seen: Sequence[Seen], threshold: float) -> tuple[float, float, float]:
    """(mean difference, share the same, share nearest to the own)."""
    return (
        float(np.mean([each.own for each in seen])),
        float(np.mean([each.own <= threshold for each in seen])),
        float(np.mean([each.is_nearest for each in seen])),
    )


def floor_json(floor: Mapping[str, Sequence[Seen]], threshold: float, sets: CharacterSets) -> dict[str, Any]:
    """Of the references of each character: how many, and their numbers among themselves."""
    found: dict[str, Any] = {name: {"pictures": count} for name, count in sets.counts.items()}
    for character, seen in floor.items():
        own, same, nearest = _floor_numbers(seen, threshold)
        found[character] |= {"difference": round(own, 6), "same": round(same, 6), "recognised": round(nearest, 6)}
    return found


def histogram(
    seen: Mapping[str, Mapping[str, Seen]], floor: Mapping[str, Sequence[Seen]], threshold: float
) -> Histogram:
    """Of all models and of the references among themselves, in bins of one width."""
    values = {model: [each.own for each in pictures.values()] for model, pictures in seen.items()}
    values[REFERENCE] = [each.own for own in floor.values() for each in own]
    top = max([threshold, *(max(own) for own in values.values() if own)])
    edges = np.linspace(0, np.ceil(20 * top) / 20, BINS + 1)
    return Histogram(
        f"Difference to the own references; the same up to {threshold:.4g}",
        [round(float(edge), 6) for edge in edges],
        {name: np.histogram(own, edges)[0].tolist() for name, own in values.items()},
    )
