"""Scores of a prompt's questions: a yes counts only where all that it depends on is there.

    own answer     yes 1, no 0, none (the server refused, or said neither) unknown
    score          0 where a parent's score is 0, else the question's own; parents are scored first
    picture        mean of its questions' scores, those that are unknown left out
    prompt         mean of its pictures: every seed, and every crop of a grid

A child of an unknown parent keeps its own answer, since nothing says that the parent is absent; through it, a
grandparent that is absent still counts. DPG-Bench as published differs in six ways, see `compat`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

Yes = bool | None
"""An answer; None is none."""
Scores = Mapping[int, float | None]
"""By question; None is unknown."""
Unanswered = Literal["leave_out", "no"]


class Node(Protocol):
    """What scoring needs of a question."""

    @property
    def id(self) -> int:
        """Of the question."""

    @property
    def parents(self) -> Sequence[int]:
        """What it depends on."""


def question_scores(
    questions: Iterable[Node], answers: Mapping[int, Yes], unanswered: Unanswered = "leave_out"
) -> dict[int, float | None]:
    """The score of every question; `questions` come with parents before those that depend on them.

    A question that `answers` lacks is unanswered: unknown, or with `no` as if answered no.
    """
    scores: dict[int, float | None] = {}
    for question in questions:
        answer = answers.get(question.id)
        own = 0.0 if answer is None and unanswered == "no" else None if answer is None else float(answer)
        absent = any(scores[parent] == 0 for parent in question.parents)
        scores[question.id] = 0.0 if absent else own
    return scores


def mean(values: Iterable[float | None]) -> float | None:
    """Of the known ones; None where there is none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def total(pictures: Iterable[tuple[str, float | None]]) -> float | None:
    """Of (prompt, score of a picture): the mean over prompts of the mean over a prompt's pictures."""
    by_prompt: dict[str, list[float | None]] = {}
    for prompt, score in pictures:
        by_prompt.setdefault(prompt, []).append(score)
    return mean(mean(scores) for scores in by_prompt.values())


def agreement(shown: Sequence[bool]) -> float | None:
    """How often two of these pictures agree: the share of pairs where both have a thing or both lack it.

    None for fewer than two pictures.
    """
    n, yes = len(shown), sum(shown)
    pairs = n * (n - 1)
    return (yes * (yes - 1) + (n - yes) * (n - yes - 1)) / pairs if pairs else None
