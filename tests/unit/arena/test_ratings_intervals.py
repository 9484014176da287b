"""Intervals, tests and their corrections, against tables."""

from __future__ import annotations

import arena_votes as made_up
import pytest

from animetune.arena.ratings.rate import rate
from animetune.arena.ratings.significance import holm, normal_point, t95, two_sided_p
from animetune.intervals import wilson


@pytest.mark.parametrize(
    ("freedom", "point"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (29, 2.045), (120, 1.980)]
)
def test_student_as_in_the_tables(freedom, point):
    assert t95(freedom) == pytest.approx(point, abs=6e-4)
    assert two_sided_p(point, freedom) == pytest.approx(0.05, abs=1e-4)


def test_student_of_one_and_two_degrees_in_closed_form():
    for t in (0.3, 1.0, 4.0):
        assert two_sided_p(t, 2) == pytest.approx(1 - t / (2 + t * t) ** 0.5)
    assert two_sided_p(1.0, 1) == pytest.approx(0.5)


def test_normal():
    assert two_sided_p(1.959964, None) == pytest.approx(0.05, abs=1e-6)
    assert two_sided_p(-2.575829, 10_000) == pytest.approx(0.01, abs=1e-6)
    assert t95(None) == pytest.approx(normal_point(0.975))
    with pytest.raises(ValueError, match="0 degrees"):
        two_sided_p(1, 0)


def test_wilson_by_hand():
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 5)[0] == 0
    assert wilson(5, 5)[1] == 1
    with pytest.raises(ValueError, match="6 of 5"):
        wilson(6, 5)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def interval(votes, **settings):
    return rate(votes, online=False, **({"bootstraps": 300} | settings)).models[0].interval


def width(votes, **settings):
    low, high = interval(votes, **settings)
    return high - low


def test_votes_make_intervals_narrower():
    votes = made_up.simulate(1600, seed=0)
    assert width(votes) < 0.65 * width(votes[:400])


def test_one_voter_is_resampled_by_votes_and_told():
    found = rate(made_up.simulate(60, seed=0), bootstraps=50, online=False).overall
    assert found.resampled == "votes"
    assert any(note.startswith("1 voter, fewer than 5") for note in found.notes)
    many = rate(made_up.simulate(60, seed=0, voters=8), bootstraps=50, online=False).overall
    assert many.resampled == "voters"
    assert not any("fewer than" in note for note in many.notes)


def test_tastes_that_differ_widen_the_interval():
    alike = made_up.simulate(2000, seed=3, voters=10, taste=0.0)
    unlike = made_up.simulate(2000, seed=3, voters=10, taste=1.0)
    assert width(unlike) > 1.8 * width(alike)
    as_one = [made_up.vote(vote.models, vote.ranks, mode=vote.mode) for vote in unlike]
    assert width(unlike) > 1.8 * width(as_one)  # what resampling votes would have claimed


def test_equal_calls_give_equal_intervals_and_seeds_differ():
    votes = made_up.simulate(200, seed=1, voters=9)
    assert interval(votes, seed=3) == interval(list(reversed(votes)), seed=3)
    assert interval(votes, seed=3) != interval(votes, seed=4)
    assert interval(votes, bootstraps=0) is None


def test_what_has_not_happened_yet_is_in_the_interval():
    votes = [*made_up.simulate(300, seed=2), made_up.vote(("new", "a"), (1, 0))]
    found = {score.model: score.interval for score in rate(made_up.numbered(votes), online=False).models}
    assert found["new"].high - found["new"].low > 4 * (found["a"].high - found["a"].low)


@pytest.mark.parametrize(("wins", "is_separated"), [(1, False), (5, False), (12, True), (200, True)])
def test_only_wins_are_believed_once_there_are_enough(wins, is_separated):
    found = rate(made_up.numbered([made_up.vote()] * wins), online=False)
    (pair,) = found.overall.progress.pairs
    assert pair.p >= min(1, 2.0 ** (1 - wins))
    assert pair.is_separated is is_separated
    assert pair.interval.low < pair.difference <= pair.interval.high
