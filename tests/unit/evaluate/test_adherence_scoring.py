"""Scores of graphs of questions: worked out by hand, and what must hold of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.evaluate.adherence.scoring import agreement, mean, question_scores, total


@dataclass(frozen=True)
class Q:
    id: int
    parents: tuple[int, ...] = ()


# 1 girl; 2 boy; 3 hair of the girl; 4 ribbon in the hair; 5 both hold hands
GRAPH = (Q(1), Q(2), Q(3, (1,)), Q(4, (3,)), Q(5, (1, 2)))


@pytest.mark.parametrize(
    ("answers", "scores", "picture"),
    [
        ("yyyyy", [1, 1, 1, 1, 1], 1),
        ("ynyyy", [1, 0, 1, 1, 0], 3 / 5),  # no boy: nobody's hand to hold
        ("nyyyy", [0, 1, 0, 0, 0], 1 / 5),  # no girl: no hair, and through it no ribbon
        ("yynyy", [1, 1, 0, 0, 1], 3 / 5),
        ("nnnnn", [0, 0, 0, 0, 0], 0),
        ("?y?y?", [None, 1, None, 1, None], 1),  # nothing says that the girl is absent
        ("n??y?", [0, None, 0, 0, 0], 0),  # the ribbon is absent through the hair, though nothing was said of that
        ("?n???", [None, 0, None, None, 0], 0),
        ("?????", [None, None, None, None, None], None),
    ],
)
def test_by_hand(answers: str, scores: list[float | None], picture: float | None) -> None:
    said = {"y": True, "n": False, "?": None}
    found = question_scores(GRAPH, {number: said[letter] for number, letter in enumerate(answers, start=1)})
    assert list(found.values()) == scores
    assert mean(found.values()) == picture


def test_unanswered_may_count_as_no() -> None:
    answers = {1: None, 2: True, 3: True, 4: True, 5: True}
    assert list(question_scores(GRAPH, answers, "no").values()) == [0, 1, 0, 0, 0]
    assert list(question_scores(GRAPH, {}, "no").values()) == [0] * 5
    assert list(question_scores(GRAPH, {}).values()) == [None] * 5


def test_totals_take_prompts_as_equals() -> None:
    pictures = [("a", 1.0), ("a", 0.5), ("a", 0.0), ("b", 1.0), ("c", None), ("b", None)]
    assert total(pictures) == (0.5 + 1.0) / 2
    assert total([("c", None)]) is None
    assert total([]) is None


@given(st.lists(st.sampled_from([True, False, None]), min_size=6, max_size=6), st.data())
def test_a_better_answer_never_lowers_a_score(answers: list[bool | None], data: st.DataObject) -> None:
    graph = tuple(
        Q(number, tuple(data.draw(st.sets(st.integers(1, number - 1), max_size=3)) if number > 1 else ()))
        for number in range(1, 7)
    )
    said = dict(enumerate(answers, start=1))
    scores = question_scores(graph, said, "no")
    flipped = data.draw(st.integers(1, 6))
    better = question_scores(graph, {**said, flipped: True}, "no")
    assert all((better[number] or 0) >= (scores[number] or 0) for number in scores)
    for question in graph:  # met exactly where it and all above it were answered yes
        above, todo = set(), [question.id]
        while todo:
            here = todo.pop()
            above.add(here)
            todo += graph[here - 1].parents
        assert scores[question.id] == float(all(said[number] is True for number in above))


def test_agreement_is_counted_over_pairs() -> None:
    for n in range(2, 7):
        for shown in product((False, True), repeat=n):
            pairs = list(combinations(shown, 2))
            expected = Fraction(sum(a == b for a, b in pairs), len(pairs))
            assert agreement(shown) == pytest.approx(float(expected), abs=1e-15)
    assert agreement([True]) is None
    assert agreement([]) is None
