"""Overlap by meaning: which tags of a picture say no more than another of its tags.

`very_long_hair` says all that `long_hair` says, and `white_shirt` all that `shirt` says. What a tag implies is decided
once for each distinct tag, with all that follows from it:

    rules       of vocabulary/overlap.txt (`more > less`), and the user's tag implications
    words       a tag implies another of its semantic class whose words it ends with, whole words only: `bow` is not in
                `elbow`. Words such as `no` take that back.

What describes a person is never removed where several people may be seen: of two girls, one can have long hair and the
other very long hair.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from animetune.curate.coded import CodedLists
from animetune.curate.read.fields import MAX_TAG_BYTES
from animetune.errors import DataError

OF_PICTURES = frozenset({
    "people", "composition", "style", "theme", "environment", "background", "surroundings", "plants", "weapons", "food",
    "vehicles", "items", "animals", "effects", "text", "censorship", "flaws",
})  # fmt: skip
"""Semantic classes that describe the picture or things in it; all others are taken to describe a person."""
MOST_HITS = 1 << 25
"""Cells of the table of implied tags that is held at a time, a byte each."""


@dataclass(frozen=True)
class Rules:
    """What implies what."""

    exact: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Tag -> tags that it implies directly."""
    patterns: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """(text before `*`, text after it, implied tags, where `*` stands for the same text)."""
    not_words: frozenset[str] = frozenset()
    """First words of tags that do not imply what follows."""
    not_pairs: frozenset[tuple[str, str]] = frozenset()
    """(tag, tag that its words seem to imply)."""

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Rules:
        """The rules of overlap.txt. DataError for a line that is none."""
        exact: dict[str, tuple[str, ...]] = {}
        patterns: list[tuple[str, str, tuple[str, ...]]] = []
        not_words: set[str] = set()
        not_pairs: set[tuple[str, str]] = set()
        for line in lines:
            more, arrow, less = (part.strip() for part in line.partition(" > "))
            implied = tuple(less.split())
            taken_back = more.startswith("not ")
            more = more.removeprefix("not ").strip()
            if " " in more or more.count("*") > 1 or (arrow and not implied) or not (arrow or taken_back):
                raise DataError(
                    f"vocabulary: overlap.txt: {line!r}: should be `more > less`, `not word` or `not more > less`"
                )
            if taken_back and not arrow:
                not_words.add(more)
            elif taken_back:
                not_pairs.update((more, tag) for tag in implied)
            elif "*" in more:
                before, _, after = more.partition("*")
                patterns.append((before, after, implied))
            else:
                exact[more] = (*exact.get(more, ()), *implied)
        return cls(exact, tuple(patterns), frozenset(not_words), frozenset(not_pairs))

    def with_implications(self, implications: Mapping[str, Sequence[str]]) -> Rules:
        """These rules, and a user's implications."""
        exact = {tag: (*self.exact.get(tag, ()), *implied) for tag, implied in implications.items()}
        return Rules({**self.exact, **exact}, self.patterns, self.not_words, self.not_pairs)

    def direct(self, tag: str, classes: Mapping[str, str]) -> set[str]:
        """The tags that a tag implies directly; `classes` has the semantic class of every tag that may be meant."""
        implied = set(self.exact.get(tag, ()))
        for before, after, less in self.patterns if self._may_fit(tag) else ():
            if tag.startswith(before) and tag.endswith(after) and len(tag) > len(before) + len(after):
                text = tag[len(before) : len(tag) - len(after)]
                implied.update(other.replace("*", text) for other in less)
        return (implied | self._by_words(tag, classes)) - {tag}

    @functools.cached_property
    def _may_fit(self) -> Callable[[str], object]:
        """Of a tag, whether a pattern may fit: few tags get beyond this one test."""
        ends = [f"^{re.escape(before)}" if before else f"{re.escape(after)}$" for before, after, _ in self.patterns]
        return re.compile("|".join(ends) or "(?!)").search

    def _by_words(self, tag: str, classes: Mapping[str, str]) -> set[str]:
        first, _, rest = tag.partition("_")
        if first in self.not_words:
            return set()
        found = set()
        while rest:
            if classes.get(rest) == classes.get(tag, "") and (tag, rest) not in self.not_pairs:
                found.add(rest)
            rest = rest.partition("_")[2]
        return found


def implied_tags(tags: Sequence[str], rules: Rules, classes: Mapping[str, str]) -> dict[str, set[str]]:
    """Tag -> all that follows from it. Tags that imply each other say the same: neither is among what follows."""
    known: dict[str, set[str]] = {}

    def following(tag: str) -> set[str]:
        reached, waiting = set[str](), [tag]
        while waiting:
            current = waiting.pop()
            if current not in known:
                known[current] = rules.direct(current, classes)
            new = {less for less in known[current] if len(less) <= MAX_TAG_BYTES} - reached  # `x* > xx*` has no end
            reached |= new
            waiting += new
        return reached

    all_of = {tag: following(tag) for tag in tags}
    return {
        tag: {less for less in found if tag not in (all_of.get(less) or following(less))}
        for tag, found in all_of.items()
    }


def redundant(coded: CodedLists, rules: Rules, classes: Mapping[str, str], several: np.ndarray) -> np.ndarray:
    """bool (uses,): whether another tag of the row implies this one.

    `classes`: tag -> semantic class. `several`: bool (rows,), whether several people may be seen.
    """
    names = coded.names.tolist()
    number = {name: index for index, name in enumerate(names)}
    implied = implied_tags(names, rules, classes)
    pairs = sorted((number[more], number[less]) for more in names for less in implied[more] if less in number)
    if not pairs:
        return np.zeros(len(coded.codes), dtype=bool)
    more, less = np.array(pairs, dtype=np.int64).T
    targets, target_of_pair = np.unique(less, return_inverse=True)
    target_of_name = np.full(len(names), -1)
    target_of_name[targets] = np.arange(len(targets))
    of_person = np.array([classes.get(names[code], "") not in OF_PICTURES for code in less])
    first = np.searchsorted(more, np.arange(len(names) + 1))

    result = np.zeros(len(coded.codes), dtype=bool)
    step = max(1, MOST_HITS // len(targets))
    for start in range(0, len(coded), step):
        end = min(start + step, len(coded))
        uses = slice(coded.offsets[start], coded.offsets[end])
        codes = coded.codes[uses]
        rows = np.repeat(np.arange(end - start), np.diff(coded.offsets[start : end + 1]))
        count = first[codes + 1] - first[codes]
        pair = np.arange(count.sum()) + np.repeat(first[codes] - (np.cumsum(count) - count), count)
        row = np.repeat(rows, count)
        counts = ~(of_person[pair] & several[start:end][row])
        hit = np.zeros((end - start, len(targets)), dtype=bool)
        hit[row[counts], target_of_pair[pair[counts]]] = True
        target = target_of_name[codes]
        result[uses] = (target >= 0) & hit[rows, target]
    return result
