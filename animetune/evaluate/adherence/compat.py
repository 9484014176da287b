"""DPG-Bench's own rules, with what is odd in them, so that totals are those of its compute_dpg_bench.py, bit by bit.

What it does, read from ELLA's repository (dpg_bench/compute_dpg_bench.py, commit 3c228f1), and what we do in `scoring`:

    the first row of the file is dropped               every row counts
    rows of a prompt that come again replace the first refused
    a parent counts as first answered where it stands  parents are scored first
      behind its child
    a parent that is not there fails the whole prompt, refused
      if no earlier parent is absent
    categories have the answers before zeroing,        scores, of every crop
      of the last crop only
    categories are those in front of the tuple         category_broad, category_detailed
    an answer other than yes is no                     unanswered questions are left out

Totals are means by NumPy in the order of the pictures, which there is that of the file system and here that of the
questions. It runs several processes, too, and then mixes up categories; this is one process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from animetune.evaluate.adherence.rows import Row

Answered = Mapping[int, bool]
"""Question -> whether the answer was yes."""


@dataclass(frozen=True, slots=True)
class CompatQuestion:
    """A question as the published script keeps it."""

    id: int
    text: str
    parents: tuple[int, ...]
    proposition: str

    @property
    def category(self) -> str:
        """L2: what stands before the bracket, as `attribute - color`."""
        return self.proposition.split("(")[0].strip()

    @property
    def broad(self) -> str:
        """L1: what stands before the dash."""
        return self.category.split("-")[0].strip()


@dataclass
class Totals:
    """What the script prints, in per cent."""

    total: float
    broad: dict[str, float] = field(default_factory=dict)
    detailed: dict[str, float] = field(default_factory=dict)
    scored: int = 0
    """Pictures in the total."""
    failed: list[str] = field(default_factory=list)
    """Prompts without a score, in whose place the script prints an error and goes on."""


def read_as_published(rows: Sequence[Row]) -> dict[str, tuple[str, tuple[CompatQuestion, ...]]]:
    """Item -> (its prompt, its questions): without the first row, later rows of an item in place of earlier ones."""
    prompts: dict[str, str] = {}
    found: dict[str, dict[int, CompatQuestion]] = {}
    before = ""
    for row in rows[1:]:
        if row.item != before:
            prompts[row.item], found[row.item] = row.text, {}
        found[row.item][row.id] = CompatQuestion(row.id, row.question, row.parents, row.proposition)
        before = row.item
    return {item: (prompts[item], tuple(questions.values())) for item, questions in found.items()}


def crop_score(questions: Sequence[CompatQuestion], answers: Answered) -> float | None:
    """Mean of the questions of one crop, zeroed in place in the order of the file.

    None where a question depends on one that is not there and no parent before that is absent: the prompt fails.
    """
    scores = {question.id: float(answers[question.id]) for question in questions}
    for question in questions:
        for parent in question.parents:
            if parent not in scores:
                return None
            if scores[parent] == 0:
                scores[question.id] = 0.0
                break
    return sum(scores.values()) / len(scores)


def totals(pictures: Iterable[tuple[str, Sequence[CompatQuestion], Sequence[Answered]]]) -> Totals:
    """Of (item, its questions, the answers of each crop): all that the script prints; NaN where nothing is scored."""
    averages: list[float] = []
    failed: list[str] = []
    answers_of: dict[str, list[float]] = {}
    broad_of: dict[str, list[float]] = {}
    for item, questions, crops in pictures:
        scores = [crop_score(questions, answers) for answers in crops]
        known = [score for score in scores if score is not None]
        if len(known) < len(scores):
            failed.append(item)
            continue
        averages.append(sum(known) / len(known))
        for question in questions:
            last = float(crops[-1][question.id])
            answers_of.setdefault(question.category, []).append(last)
            broad_of.setdefault(question.broad, []).append(last)
    return Totals(
        _percent(averages),
        {name: _percent(values) for name, values in broad_of.items()},
        {name: _percent(values) for name, values in sorted(answers_of.items())},
        len(averages),
        failed,
    )


def _percent(values: Sequence[float]) -> float:
    return float(np.mean(values) * 100) if values else float("nan")
