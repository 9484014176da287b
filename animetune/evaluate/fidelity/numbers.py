"""The numbers of the probe `fidelity`: groups of pictures and tags, estimates, matrices and tables of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from animetune.evaluate.fidelity.ceiling import Ceiling, Tally, against, by_tag, change
from animetune.evaluate.fidelity.counting import NONE, instead, missing
from animetune.evaluate.fidelity.sights import Sight, Sights
from animetune.evaluate.fidelity.tables import ALL, Slice, macro, matrix, notes, tables
from animetune.evaluate.measures import Difference, Estimate, Group, Measure, group
from animetune.evaluate.probes.shape import Looked, Score, worst

ALL_GROUPS = "all groups"


def score(looked: Looked, sights: Sights, *, has_reference: bool) -> Score:
    """All numbers; those against the ceiling where real pictures were looked at."""
    cases = looked.cases
    tags = list(dict.fromkeys(tag for case in cases for tag in case.facts["tags"]))
    titles = {tag: title for case in cases for tag, title in case.facts["groups"].items()}
    order = list(dict.fromkeys(titles[tag] for tag in tags))
    closed = [title for title in order if any(title in case.facts["closed"] for case in cases)]
    order = [*closed, *(title for title in order if title not in closed)]
    slices = [Slice.of(ALL, tags), *(Slice.of(title, [tag for tag in tags if titles[tag] == title]) for title in order)]
    parts = _parts(looked)
    tallies = {model: _tally(seen.values(), tags) for model, seen in sights.models.items()}
    ceiling = Ceiling.of(_tally(sights.real.values(), tags)) if sights.real else None
    measures = [_recall("recall", "Tags that are found", slices, looked, sights)]
    if ceiling is not None and ceiling.has.any():
        measures.append(_against("of_ceiling", "Found, of the tagger's ceiling", slices, tags, looked, sights, ceiling))
    measures += _precision(closed, looked, sights)
    if parts:
        measures.append(_recall("by_use", "Tags that are found, by use", parts, looked, sights))
    if parts and ceiling is not None and ceiling.has.any():
        title = "Found by use, of the tagger's ceiling"
        measures.append(_against("by_use_of_ceiling", title, parts, tags, looked, sights, ceiling))
    facts: dict[str, Any] = {"by_tag": by_tag(tallies, tags), "macro": macro(slices, tags, tallies)}
    if ceiling is not None:
        facts["ceiling"] = _ceiling_facts(tags, ceiling)
    return Score(
        measures,
        [matrix(title, looked, sights) for title in closed] if any(sights.models.values()) else [],
        tables(slices, closed, tags, tallies, ceiling, sights),
        worst_title="Pictures that lack the most",
        worst=worst(cases, looked.answers, _severity(sights)),
        facts=facts,
        notes=notes(looked, tags, ceiling, has_reference=has_reference),
    )


def _parts(looked: Looked) -> list[Slice]:
    """The asked tags by how often they are used, the rarest first."""
    by_part: dict[tuple[int, str], dict[str, None]] = {}
    for case in looked.cases:
        for tag, (part, title) in case.facts["uses"].items():
            by_part.setdefault((part, title), {})[tag] = None
    return [Slice.of(title, tags) for (_, title), tags in sorted(by_part.items())]


def _tally(sights: Any, tags: Sequence[str]) -> Tally:
    return Tally.of(((each.prompt, each.asked, each.found.tags.keys()) for each in sights), tags)


def _recall(name: str, title: str, slices: Sequence[Slice], looked: Looked, sights: Sights) -> Measure:
    """Mean over pictures of the share of the slice's asked tags that is found."""
    return Measure(
        name,
        title,
        "share",
        "higher",
        [
            group(
                each.title,
                looked.cases,
                sights.recall_of(each.asked),
                unit="mean",
                baseline=looked.baseline,
                name=f"fidelity/{name}",
            )
            for each in slices
        ],
    )


def _against(
    name: str,
    title: str,
    slices: Sequence[Slice],
    tags: Sequence[str],
    looked: Looked,
    sights: Sights,
    ceiling: Ceiling,
) -> Measure:
    """Ratio of what is found to what the tagger finds of the same tags in real pictures."""
    base = sights.models.get(looked.baseline, {})
    columns = [each.columns(tags) for each in slices]
    estimates: list[dict[str, Estimate]] = [{} for _ in slices]
    changes: list[dict[str, Difference]] = [{} for _ in slices]
    for model, seen in sights.models.items():
        if not seen:
            continue
        found = against(_tally(seen.values(), tags), ceiling, columns, purpose="fidelity/of_ceiling")
        for into, estimate in zip(estimates, found, strict=True):
            if estimate is not None:
                into[model] = estimate
        both = [key for key in seen if key in base]
        if model != looked.baseline and both:
            first, second = (_tally([of[key] for key in both], tags) for of in (base, seen))
            changed = change(first, second, ceiling, columns, purpose="fidelity/of_ceiling")
            for changes_of, each in zip(changes, changed, strict=True):
                if each is not None:
                    changes_of[model] = each
    groups = [
        Group(each.title, *found) for each, found in zip(slices, zip(estimates, changes, strict=True), strict=True)
    ]
    return Measure(
        name,
        title,
        "share",
        "higher",
        [each for each in groups if each.estimates],
    )


def _precision(closed: Sequence[str], looked: Looked, sights: Sights) -> list[Measure]:
    if not closed:
        return []
    every: list[tuple[str, Callable[[Sight], float | None]]] = [(ALL_GROUPS, sights.precision_overall(closed))]
    every += [(title, sights.precision_in(title)) for title in closed]
    return [
        Measure(
            "precision",
            "Right, of what is found in a group",
            "share",
            "higher",
            [
                group(
                    title,
                    looked.cases,
                    sights.values(of),
                    unit="mean",
                    baseline=looked.baseline,
                    name="fidelity/precision",
                )
                for title, of in every
            ],
        )
    ]


def _ceiling_facts(tags: Sequence[str], ceiling: Ceiling) -> dict[str, Any]:
    return {
        tag: {"pictures": int(n), "share": None if np.isnan(share) else float(share)}
        for tag, n, share in zip(tags, ceiling.pictures, ceiling.shares, strict=True)
    }


def _severity(sights: Sights) -> dict[str, dict[str, tuple[float, str]]]:
    found: dict[str, dict[str, tuple[float, str]]] = {}
    for model, seen in sights.models.items():
        found[model] = {}
        for key, sight in seen.items():
            lacking = missing(sight.asked, sight.found)
            if lacking:
                told = [f"{tag} ({other})" if (other := _other(sight, tag, sights)) else tag for tag in lacking]
                found[model][key] = (len(lacking) / len(sight.asked), "missing: " + ", ".join(told))
    return found


def _other(sight: Sight, tag: str, sights: Sights) -> str:
    """What came in place of a tag of a closed group; empty where that cannot be said."""
    title = sight.facts["groups"][tag]
    closed = sight.closed(title)
    if closed is None:
        return ""
    came = instead(sights.asked_in(title, sight), tag, closed, sight.found, sights.implications)
    return "" if came == NONE else f"is {came}"
