"""What several taggers say together: pure functions on flat arrays, a row and a tag for each use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from animetune.curate.config.models import TagSourceRules
from animetune.curate.recognize.raw_answers import WHOLE, column
from animetune.curate.tag.tag_names import normal_tag
from animetune.vision.taggers import RATING, TagList

Combine = Literal["mean", "max"]
RATINGS_BY_NAME = {"general": "g", "sensitive": "s", "questionable": "q", "explicit": "e"}
_PARTS = 2520
"""Means of up to ten taggers are whole in so many parts."""


@dataclass(frozen=True, slots=True)
class KnownTags:
    """All tags that some taggers know, each once; their numbers are places in these arrays."""

    names: np.ndarray
    """object (tags,), str as in the first tagger's list."""
    normal: np.ndarray
    """object (tags,), str: by which a post's own tags are compared."""
    kinds: np.ndarray
    """object (tags,), str: values of taggers.KINDS."""
    numbers: Mapping[str, np.ndarray]
    """Tagger -> int64 (its tags,): our number of each."""

    @classmethod
    def of(cls, lists: Mapping[str, TagList]) -> KnownTags:
        """Of taggers, by name."""
        number: dict[tuple[str, str], int] = {}
        names: list[str] = []
        numbers = {}
        for tagger, tags in lists.items():
            own = []
            for name, kind in zip(tags.names, tags.kinds, strict=True):
                place = number.setdefault((normal_tag(name), kind), len(number))
                if place == len(names):
                    names.append(name)
                own.append(place)
            numbers[tagger] = np.array(own, dtype=np.int64)
        return cls(
            np.array(names, dtype=object),
            np.array([name for name, _ in number], dtype=object),
            np.array([kind for _, kind in number], dtype=object),
            numbers,
        )

    def thresholds(self, rules: TagSourceRules) -> np.ndarray:
        """float64 (tags,): how likely each has to be, in ten-thousandths; ratings always are."""
        by_kind = {**rules.thresholds.model_dump(), RATING: 0.0}
        least = [
            by_kind[kind] if kind == RATING else rules.tags.get(name, by_kind[kind])
            for name, kind in zip(self.normal, self.kinds, strict=True)
        ]
        return (np.array(least, dtype=np.float64) * WHOLE).round(6)  # 0.07 * 10000 is more than 700

    def known_to(self) -> np.ndarray:
        """int64 (tags,): how many taggers know each."""
        count = np.zeros(len(self.names), dtype=np.int64)
        for numbers in self.numbers.values():
            count[np.unique(numbers)] += 1
        return count


@dataclass(frozen=True, slots=True)
class LikelyTags:
    """Uses of tags, row by row, the likeliest first, then in the order of KnownTags."""

    rows: np.ndarray
    """int64 (uses,), rising."""
    tags: np.ndarray
    """int64 (uses,), numbers of KnownTags."""
    likely: np.ndarray
    """float64 (uses,), in ten-thousandths."""

    def keep(self, held: np.ndarray) -> LikelyTags:
        """Those for which `held`, bool (uses,), is true."""
        return LikelyTags(self.rows[held], self.tags[held], self.likely[held])

    @classmethod
    def of(cls, rows: pl.DataFrame, known: KnownTags, rules: TagSourceRules, combine: Combine) -> LikelyTags:
        """What the taggers find likely enough; of several, the mean of those that know a tag counts, or the largest."""
        flat = [_flat(rows, tagger, numbers) for tagger, numbers in known.numbers.items()]
        row, tag, likely = (np.concatenate(arrays) for arrays in zip(*flat, strict=True))
        if len(flat) > 1:
            key, place = np.unique(row * len(known.names) + tag, return_inverse=True)
            row, tag = np.divmod(key, len(known.names))
            together = np.zeros(len(key))
            if combine == "max":
                np.maximum.at(together, place, likely)
            else:
                np.add.at(together, place, likely)
                together /= known.known_to()[tag]
            likely = together
        enough = likely >= known.thresholds(rules)[tag]
        row, tag, likely = row[enough], tag[enough], likely[enough]
        # One key, stably: several times faster than lexsort by three. Uses of a row come in the order of tags.
        unlikely = np.rint((WHOLE - likely) * _PARTS).astype(np.int64)
        order = np.argsort(row * (WHOLE * _PARTS + 1) + unlikely, kind="stable")
        return cls(row[order], tag[order], likely[order])


def likeliest_ratings(found: LikelyTags, known: KnownTags, height: int) -> list[str | None]:
    """The likeliest rating of each of so many rows: g, s, q or e; None where no tagger said any."""
    of_ratings = found.keep((known.kinds == RATING)[found.tags])
    rows, first = np.unique(of_ratings.rows, return_index=True)
    ratings: list[str | None] = [None] * height
    for row, tag in zip(rows.tolist(), of_ratings.tags[first].tolist(), strict=True):
        ratings[row] = RATINGS_BY_NAME[known.normal[tag]]
    return ratings


def _flat(rows: pl.DataFrame, tagger: str, numbers: np.ndarray) -> Sequence[np.ndarray]:
    lists = rows[column(tagger, "tags")].fill_null([])
    likely = rows[column(tagger, "likely")].fill_null([])
    row = np.repeat(np.arange(rows.height, dtype=np.int64), lists.list.len().to_numpy())
    tags = numbers[lists.explode(empty_as_null=False).to_numpy().astype(np.int64)]
    return row, tags, likely.explode(empty_as_null=False).to_numpy().astype(np.float64)
