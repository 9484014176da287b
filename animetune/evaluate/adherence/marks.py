"""What a vision model's answers say of each picture: the scores of its questions, and what they come to by axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from animetune.evaluate.adherence.asked import answer_id
from animetune.evaluate.adherence.scoring import Scores, Unanswered, Yes, mean, question_scores
from animetune.evaluate.cases import Answer, Answers, Case

SCORER = "questions"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as scoring needs it."""

    id: int
    text: str
    parents: tuple[int, ...]
    category: str
    subcategory: str
    subject: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A picture, or a quarter of one, with its questions, what was answered and how they score."""

    part: str
    questions: tuple[Asked, ...]
    answers: Mapping[int, Yes]
    scores: Scores

    def mean(self, wanted: Callable[[Asked], bool] = lambda question: True) -> float | None:
        """Of the scores of some of the questions; None where none of them has one."""
        return mean(self.scores[question.id] for question in self.questions if wanted(question))

    def is_zeroed(self, question: Asked) -> bool:
        """Whether it scores 0 for what it depends on."""
        return any(self.scores[parent] == 0 for parent in question.parents)


Marks = Mapping[str, Mapping[str, Sequence[Mark]]]
"""Model -> key of a case -> its parts, for pictures that were asked about."""


def marks_of(cases: Sequence[Case], answers: Answers, unanswered: Unanswered) -> dict[str, dict[str, list[Mark]]]:
    """The marks of every picture that the vision model was asked about."""
    questions = {case.key: _questions(case) for case in cases}
    return {
        model: {
            case.key: list(_marks(case, questions[case.key], answered[case.key], unanswered))
            for case in cases
            if SCORER in answered.get(case.key, {}) and questions[case.key]
        }
        for model, answered in answers.items()
    }


def value(marks: Sequence[Mark], wanted: Callable[[Asked], bool] = lambda question: True) -> float | None:
    """Of one picture: the mean over its parts of the mean over questions."""
    return mean(mark.mean(wanted) for mark in marks)


def said_yes(answer: Answer, part: str, number: int | str) -> Yes:
    """Whether a question was answered yes; None for neither yes nor no."""
    said = answer[SCORER].get(answer_id(part, number)) or {}
    return {"yes": True, "no": False}.get(str(said.get("answer")))


def lines(model: str, cases: Sequence[Case], marks: Mapping[str, Sequence[Mark]]) -> Iterator[dict[str, Any]]:
    """A line for every question of every picture, for a file of JSON lines."""
    for case in cases:
        for mark in marks.get(case.key, ()):
            for question in mark.questions:
                yes = mark.answers[question.id]
                yield {
                    "model": model,
                    "item": case.facts["item"],
                    "seed": case.request.seed,
                    "size": case.request.size.name,
                    **({"quarter": mark.part} if mark.part else {}),
                    "id": question.id,
                    "parents": list(question.parents),
                    "category": question.category,
                    "subcategory": question.subcategory,
                    "question": question.text,
                    "answer": None if yes is None else "yes" if yes else "no",
                    "score": mark.scores[question.id],
                    "zeroed": mark.is_zeroed(question),
                }


def _questions(case: Case) -> tuple[Asked, ...]:
    return tuple(
        Asked(
            each["id"],
            each["text"],
            tuple(each["parents"]),
            each["category"],
            each["subcategory"],
            each["subject"],
        )
        for each in case.facts["graph"]
    )


def _marks(case: Case, questions: tuple[Asked, ...], answer: Answer, unanswered: Unanswered) -> Iterator[Mark]:
    for part in case.facts["parts"]:
        said = {question.id: said_yes(answer, part, question.id) for question in questions}
        yield Mark(part, questions, said, question_scores(questions, said, unanswered))
