"""How well the ratings order made-up models, and against whom."""

from __future__ import annotations

import statistics

import arena_votes as made_up
import pytest

from animetune.arena.ratings.elo import elo, shuffled_elo
from animetune.arena.ratings.rate import rate
from animetune.arena.ratings.skill import openskill_scores

SEEDS = range(20)


def scores(votes):
    return {score.model: score.score for score in rate(votes, bootstraps=0, online=False).models}


def mean_tau(rating, n=600, **settings):
    drawn = (made_up.simulate(n, seed=seed, **settings) for seed in SEEDS)
    return statistics.fmean(made_up.kendall(rating(votes), made_up.SIX) for votes in drawn)


def test_600_votes_order_six_models_better_than_online_ratings():
    names = list(made_up.SIX)
    ours = mean_tau(scores)
    assert ours >= 0.9
    assert ours > mean_tau(lambda votes: elo(votes, names)) + 0.1
    assert ours > mean_tau(lambda votes: {each.model: each.mu for each in openskill_scores(votes, names)}) + 0.1
    assert ours >= mean_tau(lambda votes: shuffled_elo(votes, names, seed=0)) - 0.005


@pytest.mark.parametrize("full", [False, True])
def test_picks_and_rankings_of_four_order_them_with_half_the_votes(full):
    assert mean_tau(scores, n=300, modes=("four",), full=full) >= (0.95 if full else 0.88)


def test_all_modes_together_are_one_scale():
    votes = made_up.simulate(6000, seed=1, modes=("fixed", "duel", "four"))
    found = rate(votes, bootstraps=0, online=False)
    mean = statistics.fmean(made_up.SIX.values())
    for score in found.models:
        assert score.score == pytest.approx(1000 + 173.7178 * (made_up.SIX[score.model] - mean), abs=20)
    assert found.overall.draw == pytest.approx(made_up.NU, rel=0.1)
