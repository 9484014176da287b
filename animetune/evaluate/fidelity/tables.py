"""Tables, matrices and notes of the probe `fidelity`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from animetune.evaluate.config import REFERENCE
from animetune.evaluate.fidelity.ceiling import LEAST_REAL, Ceiling, Tally
from animetune.evaluate.fidelity.counting import NONE, asked_in, instead
from animetune.evaluate.fidelity.sights import Sight, Sights
from animetune.evaluate.probes.shape import Looked, Matrix, Table

ALL = "all tags"
ANOTHER = "another"
"""What came where it is a tag of the group that no prompt asks for."""
MOST_MISSED = 20
LEAST_ASKED = 4
"""Pictures of all models that have to ask for a tag before the list of the most missed names it."""


@dataclass(frozen=True)
class Slice:
    """Some of the tags."""

    title: str
    tags: frozenset[str]

    @classmethod
    def of(cls, title: str, tags: Iterable[str]) -> Slice:
        """A slice of what is listed."""
        return cls(title, frozenset(tags))

    def asked(self, sight: Sight) -> list[str]:
        """Those of them that a picture was asked for."""
        return [tag for tag in sight.asked if tag in self.tags]

    def columns(self, tags: Sequence[str]) -> list[int]:
        """Their places among `tags`."""
        return [place for place, tag in enumerate(tags) if tag in self.tags]


def matrix(title: str, looked: Looked, sights: Sights) -> Matrix:
    """Asked tags of a closed group (rows), and what came (columns); of real pictures, too."""
    closed = next(case.facts["closed"][title] for case in looked.cases if title in case.facts["closed"])
    names = {tag for case in looked.cases if title in case.facts["closed"] for tag in case.facts["tags"]}
    asked = {tag for name in names for tag in asked_in(closed, [name], sights.implications)}
    rows = [tag for tag in closed if tag in asked]
    came: dict[str, dict[tuple[str, str], int]] = {}
    everything = {**sights.models, **({REFERENCE: sights.real} if sights.real else {})}
    for name, seen in everything.items():
        counts = came.setdefault(name, {})
        for sight in seen.values():
            mine = sights.asked_in(title, sight)
            for tag in mine & asked:
                other = instead(mine, tag, closed, sight.found, sights.implications)
                pair = tag, other if other in asked or other == NONE else ANOTHER
                counts[pair] = counts.get(pair, 0) + 1
    columns = [
        *rows,
        *(each for each in (ANOTHER, NONE) if any((row, each) in of for of in came.values() for row in rows)),
    ]
    return Matrix(
        f"{title}: asked (rows), and what is found (columns)",
        rows,
        without_ending(columns),
        {name: [[counts.get((row, column), 0) for column in columns] for row in rows] for name, counts in came.items()},
    )


def without_ending(names: Sequence[str]) -> list[str]:
    """Names without the last word that more than half of them share: `blue` of `blue_hair`."""
    endings = [name.rpartition("_")[2] for name in names if "_" in name.strip("_")]
    often = {ending for ending in endings if endings.count(ending) > len(names) / 2}
    return [name.rpartition("_")[0] if name.rpartition("_")[2] in often and "_" in name else name for name in names]


def macro(slices: Sequence[Slice], tags: Sequence[str], tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """Slice -> model -> mean over its tags of each tag's recall: rare tags count as much as frequent ones."""
    found: dict[str, dict[str, float]] = {}
    for each in slices:
        columns = each.columns(tags)
        for model, tally in tallies.items():
            shares = tally.recall()[columns]
            if not np.isnan(shares).all():
                found.setdefault(each.title, {})[model] = float(np.nanmean(shares))
    return found


def tables(
    slices: Sequence[Slice],
    closed: Sequence[str],
    tags: Sequence[str],
    tallies: Mapping[str, Tally],
    ceiling: Ceiling | None,
    sights: Sights,
) -> list[Table]:
    """Recall by group with every tag counting as much, the ceiling, and the tags that are missed the most."""
    models = [model for model, tally in tallies.items() if tally.prompts]
    if not models:
        return []
    means = macro(slices, tags, tallies)
    by_group = Table(
        "Found by group, every tag counting as much",
        ("tags", *models),
        {each.title: [str(len(each.tags)), *(_percent(means.get(each.title, {}).get(m)) for m in models)]
         for each in slices},
    )  # fmt: skip
    found = [by_group]
    if ceiling is not None:
        found.append(_ceiling_table(slices, closed, tags, ceiling, sights))
    shares = {model: tallies[model].recall() for model in models}
    limits = np.full(len(tags), np.nan) if ceiling is None else ceiling.shares
    asked = sum(tallies[model].asked.sum(axis=0) for model in models)
    short = {
        tag: float(np.nanmean([shares[model][place] for model in models]) - np.nan_to_num(limits[place], nan=1.0))
        for place, tag in enumerate(tags)
        if np.asarray(asked)[place] >= LEAST_ASKED and (ceiling is None or ceiling.has[place])
    }
    least = sorted((value, tag) for tag, value in short.items() if value < 0)[:MOST_MISSED]
    if least:
        place_of = {tag: place for place, tag in enumerate(tags)}
        rows = {
            tag: [*(_percent(shares[model][place_of[tag]]) for model in models), _percent(limits[place_of[tag]])]
            for _, tag in least
        }
        found.append(Table("Tags that are missed the most", (*models, "real pictures"), rows))
    return found


def _ceiling_table(
    slices: Sequence[Slice], closed: Sequence[str], tags: Sequence[str], ceiling: Ceiling, sights: Sights
) -> Table:
    rows = {}
    for each in slices:
        columns = each.columns(tags)
        known = [place for place in columns if ceiling.has[place]]
        of = sights.precision_overall(closed) if each.title == ALL else sights.precision_in(each.title)
        right = [number for sight in sights.real.values() if (number := of(sight)) is not None]
        rows[each.title] = [
            f"{len(known)} of {len(columns)}",
            _percent(float(np.mean(ceiling.shares[known])) if known else None),
            _percent(sum(right) / len(right) if right else None),
            f"{len(right):,}" if right else "–",
        ]
    title = f"What the tagger finds in {len(sights.real):,} real pictures: the ceiling"
    return Table(title, (f"tags with {LEAST_REAL} pictures", "found, mean over tags", "right", "pictures"), rows)


def notes(looked: Looked, tags: Sequence[str], ceiling: Ceiling | None, *, has_reference: bool) -> list[str]:
    """What was left out of the numbers."""
    found = []
    unknown = list(dict.fromkeys(tag for case in looked.cases for tag in case.facts["unknown"]))
    if unknown:
        shown = ", ".join(unknown[:12]) + (" ..." if len(unknown) > 12 else "")
        found.append(f"{len(unknown)} of the asked tags are not in the tagger's list and were not looked for: {shown}")
    if not has_reference:
        found.append(
            "No real pictures were given (`reference`), so there is no ceiling: a tag that this tagger misses in every "
            "picture counts against all models. Compare models, not groups."
        )
    elif ceiling is not None and not ceiling.has.all():
        few = int((~ceiling.has).sum())
        found.append(
            f"{few} of the {len(tags)} tags have fewer than {LEAST_REAL} real pictures and are in no number against "
            "the ceiling."
        )
    return found


def _percent(share: float | None) -> str:
    return "–" if share is None or np.isnan(share) else f"{100 * share:.1f} %"
