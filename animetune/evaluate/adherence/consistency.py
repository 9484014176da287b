"""The same character in several prompts and with several seeds: are its fixed traits there, and are they every time?

A character is what the questions of the axis `character_consistency` are about, as their tuples say
(`character_consistency - hair (suzu, silver hair)`), wherever the same ones are asked of two prompts or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from animetune.evaluate.adherence.marks import Asked, Mark
from animetune.evaluate.adherence.scoring import agreement, mean
from animetune.evaluate.cases import Case
from animetune.evaluate.intervals import bootstrap
from animetune.intervals import Interval

AXIS = "character_consistency"


@dataclass(frozen=True)
class Kept:
    """What one model makes of one character."""

    pictures: int
    shown: float
    """Mean over traits of the share of pictures that show it."""
    complete: float
    """Share of pictures that show all of them."""
    agreement: float | None
    """Mean over traits of the share of pairs of pictures where both show it or both lack it."""
    traits: Mapping[str, tuple[int, int]]
    """Question -> (pictures that show it, pictures of which that is known)."""


def characters(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """Characters that several prompts share, with their cases."""
    by_subject: dict[str, dict[str, Case]] = {}
    for case in cases:
        for question in case.facts["graph"]:
            if question["category"] == AXIS and question["subject"]:
                by_subject.setdefault(question["subject"], {})[case.key] = case
    return {
        subject: list(found.values())
        for subject, found in by_subject.items()
        if len({case.item for case in found.values()}) > 1
    }


def is_trait(subject: str, question: Asked) -> bool:
    """Whether a question asks for a fixed trait of a character."""
    return question.category == AXIS and question.subject == subject


def has_all(subject: str, mark: Mark) -> bool | None:
    """Whether a picture shows all traits of a character; None where that is not known."""
    scores = [mark.scores[question.id] for question in mark.questions if is_trait(subject, question)]
    if any(score == 0 for score in scores):
        return False
    return None if not scores or None in scores else True


def kept(subject: str, cases: Sequence[Case], marks: Mapping[str, Sequence[Mark]]) -> Kept | None:
    """Of one model; None where nothing is known of the character."""
    mine = [mark for case in cases for mark in marks.get(case.key, ())]
    by_trait: dict[str, list[bool]] = {}
    for mark in mine:
        for question in mark.questions:
            score = mark.scores[question.id]
            if is_trait(subject, question) and score is not None:
                by_trait.setdefault(question.text, []).append(score == 1)
    complete = [has_all(subject, mark) for mark in mine]
    known = [each for each in complete if each is not None]
    shown = mean(sum(found) / len(found) for found in by_trait.values())
    if shown is None or not known:
        return None
    return Kept(
        len(mine),
        shown,
        sum(known) / len(known),
        mean(agreement(found) for found in by_trait.values()),
        {text: (sum(found), len(found)) for text, found in by_trait.items()},
    )


def mean_agreement(by_character: Mapping[str, Kept], purpose: str) -> tuple[float | None, Interval | None]:
    """Over characters, with an interval that resamples them."""
    known = {name: [each.agreement] for name, each in by_character.items() if each.agreement is not None}
    return mean(value for values in known.values() for value in values), bootstrap(known, purpose=purpose)
