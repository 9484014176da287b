"""What of the asked tags is there, by what a tagger finds: recall, precision within a group, what came in place.

    tags of an answer --threshold--> found --what they imply--> Found
    asked, Found --recall, precision, instead--> numbers of one picture

Counted is by sets of tags, so that every number can be worked out by hand:

    recall      share of the asked tags that are found, or implied by what is found
    precision   of the most exact tags that are found in a closed group, the share that is right: asked, implied by what
                was asked, implying it (asked long_hair, found very_long_hair), or listed `beside` it
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from animetune.curate.tag.overlap import Rules, implied_tags
from animetune.curate.tag.tag_lists import Vocabulary

NONE = "none"
"""What came where nothing of a group is found."""

Closed = Mapping[str, Collection[str]]
"""The tags of a closed group -> tags of the group that may come with each."""


@dataclass(frozen=True)
class Implications:
    """Tag -> all tags that follow from it (very_long_hair: long_hair); tags without any may be left out."""

    of: Mapping[str, Collection[str]] = field(default_factory=dict)

    @classmethod
    def among(cls, tags: Iterable[str]) -> Implications:
        """By curation's rules of overlap, between the tags that are named."""
        names = sorted(set(tags))
        found = implied_tags(names, _rules(), _vocabulary().class_of(names))
        known = set(names)
        return cls({tag: frozenset(implied & known) for tag, implied in found.items() if implied & known})

    def following(self, tags: Iterable[str]) -> set[str]:
        """The tags, and all that follows from them."""
        listed = set(tags)
        return listed.union(*(self.of.get(tag, ()) for tag in listed))

    def most_exact(self, tags: Collection[str]) -> set[str]:
        """The tags but for those that another one of them implies."""
        return {tag for tag in tags if not any(tag in self.of.get(other, ()) for other in tags)}


@dataclass(frozen=True)
class Found:
    """What is there in one picture: tag -> probability, of an implied tag that of the likeliest one it follows from."""

    tags: Mapping[str, float]

    @classmethod
    def of(
        cls,
        likely: Mapping[str, float],
        implications: Implications,
        *,
        threshold: float,
        characters: Collection[str] = (),
        character_threshold: float = 1.0,
    ) -> Found:
        """The tags that reach the threshold of their kind, and what they imply."""
        found = {
            tag: value
            for tag, value in likely.items()
            if value >= (character_threshold if tag in characters else threshold)
        }
        for tag, value in list(found.items()):
            for implied in implications.of.get(tag, ()):
                found[implied] = max(found.get(implied, 0.0), value)
        return cls(found)


def recall(asked: Collection[str], found: Found) -> float | None:
    """Share of the asked tags that are there; None where nothing was asked."""
    return sum(tag in found.tags for tag in asked) / len(asked) if asked else None


def missing(asked: Iterable[str], found: Found) -> list[str]:
    """The asked tags that are not there."""
    return [tag for tag in asked if tag not in found.tags]


def rightness(
    asked: Collection[str], closed: Closed, found: Found, implications: Implications
) -> tuple[set[str], set[str]]:
    """(right, wrong): the most exact tags of a closed group that are there.

    `asked`: the tags of the picture's prompt, of other groups too, which are passed over.
    """
    mine = implications.following(asked) & closed.keys()
    allowed = implications.following(mine).union(*(closed[tag] for tag in mine))
    there = implications.most_exact(found.tags.keys() & closed.keys())
    right = {tag for tag in there if tag in allowed or mine & implications.following([tag])}
    return right, there - right


def precision(asked: Collection[str], closed: Closed, found: Found, implications: Implications) -> float | None:
    """Share of what is there of a closed group that is right; None where nothing of it is there, or was asked."""
    if not implications.following(asked) & closed.keys():
        return None
    right, wrong = rightness(asked, closed, found, implications)
    return len(right) / (len(right) + len(wrong)) if right or wrong else None


def asked_in(closed: Closed, asked: Iterable[str], implications: Implications) -> set[str]:
    """What was asked of a closed group: the most exact of its tags that are asked, or follow from what is."""
    return implications.most_exact(implications.following(asked) & closed.keys())


def instead(asked: Collection[str], tag: str, closed: Closed, found: Found, implications: Implications) -> str:
    """What came of a closed group where `tag` was asked: the tag itself; else the likeliest that was not asked for too,
    the most exact ones before what follows from them; `NONE` without any."""
    if tag in found.tags:
        return tag
    others = {name: found.tags[name] for name in found.tags.keys() & closed.keys() - set(asked)}
    exact = implications.most_exact(others)
    return max(exact, key=lambda name: (others[name], name), default=NONE)


@functools.cache
def _rules() -> Rules:
    return Rules.parse(_vocabulary().overlap)


@functools.cache
def _vocabulary() -> Vocabulary:
    return Vocabulary.load()
