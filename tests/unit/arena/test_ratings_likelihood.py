"""The joint likelihood, against hand numbers, brute force and a generic optimiser."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import arena_votes as made_up
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.arena.ratings.events import Event, tally
from animetune.arena.ratings.likelihood import PRIOR, Likelihood
from animetune.arena.ratings.rate import rate
from animetune.arena.votes import Vote
from animetune.errors import DataError

NAMES = "abcdef"


def chance(vote: Vote, theta: Mapping[str, torch.Tensor], log_nu: torch.Tensor) -> torch.Tensor:
    """Probability of a vote, by enumerating all full orders of its models: slow, and written from the definition."""
    assert vote.ranks is not None
    if vote.mode == "fixed" and len(vote.models) == 2:
        first, second = (theta[model].exp() for model in vote.models)
        draw = log_nu.exp() * (first * second).sqrt()
        won = {-1: first, 1: second, 0: draw}[int(np.sign(vote.ranks[0] - vote.ranks[1]))]
        return won / (first + second + draw)
    total = torch.zeros((), dtype=torch.float64)
    for order in itertools.permutations(range(len(vote.models))):
        if any(vote.ranks[one] > vote.ranks[other] for one, other in itertools.pairwise(order)):
            continue
        one_order = torch.ones((), dtype=torch.float64)
        for place in range(len(order)):
            left = torch.stack([theta[vote.models[member]].exp() for member in order[place:]])
            one_order = one_order * left[0] / left.sum()
        total = total + one_order
    return total


def by_optimiser(votes: Sequence[Vote], names: Sequence[str]) -> dict[str, float]:
    """The most likely thetas (and `nu`, its logarithm) by PyTorch's L-BFGS on the brute-force likelihood."""
    beta = torch.zeros(len(names) + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [beta], max_iter=500, tolerance_grad=1e-11, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        theta = dict(zip(names, beta, strict=False))
        told = sum(-chance(vote, theta, beta[-1]).log() for vote in votes)
        value = told + (beta**2).sum() / (2 * PRIOR**2)
        value.backward()
        return value

    optimiser.step(loss)
    return dict(zip([*names, "nu"], beta.detach().tolist(), strict=True))


def fitted(votes: Sequence[Vote], names: Sequence[str]) -> dict[str, float]:
    counted = tally(votes, names)
    likelihood = Likelihood(counted.events, len(names))
    beta = likelihood.fit(counted.counts.sum(axis=0)[None])
    assert np.abs(likelihood.gradient(beta, counted.counts.sum(axis=0)[None])).max() < 1e-7
    return dict(zip([*names, *(["nu"] if likelihood.has_draws else [])], beta[0].tolist(), strict=True))


@st.composite
def some_votes(draw: st.DrawFn) -> list[Vote]:
    votes = []
    for _ in range(draw(st.integers(1, 12))):
        mode = draw(st.sampled_from(("fixed", "duel", "four")))
        models = draw(st.permutations(NAMES))[: 4 if mode == "four" else 2]
        ranks = draw(st.lists(st.integers(0, 3), min_size=len(models), max_size=len(models)))
        votes.append(made_up.vote(models, ranks, mode=mode))
    return made_up.numbered(votes)


@settings(max_examples=25, deadline=None)
@given(some_votes())
def test_the_maximum_is_that_of_a_generic_optimiser(votes):
    ours, theirs = fitted(votes, NAMES), by_optimiser(votes, NAMES)
    for name, value in ours.items():
        assert value == pytest.approx(theirs[name], abs=2e-5)


@pytest.mark.parametrize("seed", range(3))
def test_real_sizes_agree_with_the_optimiser_too(seed):
    votes = made_up.simulate(80, seed=seed, modes=("fixed", "duel", "four"), full=seed == 2)
    ours, theirs = fitted(votes, NAMES), by_optimiser(votes, NAMES)
    assert {name: pytest.approx(theirs[name], abs=2e-5) for name in ours} == ours


def test_two_models_by_hand():
    # 30 wins, 10 losses: without a prior the difference is ln 3; the prior's mean slope there is -d / (2 PRIOR^2)
    votes = made_up.numbered([made_up.vote(mode="duel")] * 30 + [made_up.vote(ranks=(1, 0), mode="duel")] * 10)
    found = fitted(votes, "ab")
    difference = found["a"] - found["b"]
    assert found["a"] == pytest.approx(-found["b"])
    assert "nu" not in found
    assert 30 - 40 / (1 + math.exp(-difference)) == pytest.approx(difference / (2 * PRIOR**2), abs=1e-9)
    assert difference == pytest.approx(math.log(3), rel=0.005)


def test_davidson_by_hand():
    # equals with 26 wins each way and 28 draws: nu / 2 = 28 / 52
    votes = made_up.numbered(
        [made_up.vote()] * 26 + [made_up.vote(ranks=(1, 0))] * 26 + [made_up.vote(ranks=(0, 0))] * 28
    )
    found = fitted(votes, "ab")
    assert found["a"] == pytest.approx(0, abs=1e-9)
    assert math.exp(found["nu"]) == pytest.approx(2 * 28 / 52, rel=0.001)


@pytest.mark.parametrize(
    "events",
    [
        [Event(True, ((0,), (1,))), Event(True, ((1,), (0,))), Event(True, ((0, 1),))],
        [Event(False, ((0,), (1,))), Event(False, ((1,), (0,)))],
        [Event(False, ((best,), tuple(sorted({0, 1, 2, 3} - {best})))) for best in range(4)],
        [Event(False, tuple((model,) for model in order)) for order in itertools.permutations(range(4))],
        [Event(False, (pair, tuple(sorted({0, 1, 2, 3} - set(pair))))) for pair in itertools.combinations(range(4), 2)],
        [Event(False, (three, tuple({0, 1, 2, 3} - set(three)))) for three in itertools.combinations(range(4), 3)],
    ],
)
def test_what_may_happen_has_probability_one(events):
    likelihood = Likelihood(events, 4)
    beta = np.linspace(-1.3, 0.9, likelihood.parameters)[None]
    prior = likelihood.value(beta, np.zeros((1, len(events))))
    each = likelihood.value(np.repeat(beta, len(events), axis=0), np.eye(len(events))) - prior
    assert np.exp(each).sum() == pytest.approx(1, abs=1e-12)


def test_the_gradient_is_the_slope_of_the_value():
    votes = made_up.simulate(60, seed=1, modes=("fixed", "duel", "four"))
    votes += [made_up.vote("abcd", (0, 0, 1, 1)), made_up.vote("cdef", (0, 1, 1, 2))]
    counted = tally(votes, NAMES)
    likelihood, weights = Likelihood(counted.events, 6), counted.counts.sum(axis=0)[None]
    beta = np.linspace(-1, 1.4, likelihood.parameters)[None]
    slopes = [
        (likelihood.value(beta + step, weights) - likelihood.value(beta - step, weights))[0] / 2e-6
        for step in 1e-6 * np.eye(likelihood.parameters)
    ]
    assert likelihood.gradient(beta, weights)[0] == pytest.approx(slopes, abs=1e-5)


def test_every_start_leads_to_the_same_maximum():
    votes = made_up.simulate(200, seed=2, modes=("fixed", "four"))
    votes += [made_up.vote("abcd", (0, 0, 0, 1)), made_up.vote("abef", (1, 1, 0, 0))] * 15
    counted = tally(votes, NAMES)
    likelihood, weights = Likelihood(counted.events, 6), counted.counts.sum(axis=0)[None]
    best = likelihood.fit(weights)
    for seed in range(5):
        start = 6 * np.sin(np.arange(likelihood.parameters) * (seed + 1.7))
        assert likelihood.fit(weights, start) == pytest.approx(best, abs=1e-8)


def test_many_weightings_are_fitted_as_each_alone(monkeypatch):
    counted = tally(made_up.simulate(300, seed=4, modes=("fixed", "duel", "four"), voters=12), NAMES)
    likelihood = Likelihood(counted.events, 6)
    monkeypatch.setattr("animetune.arena.ratings.likelihood._CHUNK", 3000)
    together = likelihood.fit(counted.counts)
    alone = np.concatenate([likelihood.fit(row[None]) for row in counted.counts])
    assert together == pytest.approx(alone, abs=1e-8)


@settings(max_examples=20, deadline=None)
@given(some_votes(), st.permutations(range(12)), st.permutations(NAMES))
def test_neither_order_nor_names_matter(votes, order, names):
    before = fitted(votes, NAMES)
    shuffled = [votes[place] for place in order if place < len(votes)]
    renamed = dict(zip(NAMES, names, strict=True))
    told = [made_up.vote([renamed[model] for model in vote.models], vote.ranks, mode=vote.mode) for vote in shuffled]
    after = fitted(told, NAMES)
    assert {renamed.get(name, name): pytest.approx(value, abs=1e-8) for name, value in before.items()} == after


def test_the_order_on_the_screen_does_not_matter():
    votes = made_up.simulate(100, seed=5, modes=("fixed", "four"))
    turned = [made_up.vote(vote.models[::-1], vote.ranks and vote.ranks[::-1], mode=vote.mode) for vote in votes]
    assert fitted(turned, NAMES) == fitted(votes, NAMES)


def test_the_same_votes_ten_times_lie_nearer_to_where_there_is_no_prior():
    votes = [made_up.vote(mode="duel")] * 3 + [made_up.vote(ranks=(1, 0), mode="duel")]
    gaps = []
    for times in (1, 10, 100):
        found = fitted(votes * times, "ab")
        gaps.append(math.log(3) - (found["a"] - found["b"]))
    assert 0 < gaps[2] < gaps[1] / 8 < gaps[0] / 60


@pytest.mark.parametrize(("duels", "cost"), [(20, 0.012), (200, 0.0013)])
def test_the_prior_costs_what_is_written(duels, cost):
    won = duels * 11 // 20
    votes = [made_up.vote(mode="duel")] * won + [made_up.vote(ranks=(1, 0), mode="duel")] * (duels - won)
    found = fitted(votes, "ab")
    short = 1 - (found["a"] - found["b"]) / math.log(11 / 9)
    assert 0 < short < cost


@pytest.mark.parametrize("wins", [1, 10, 10_000])
def test_who_always_wins_has_a_finite_score(wins):
    found = fitted([made_up.vote(mode="duel")] * wins, "ab")
    assert 0.5 < found["a"] - found["b"] < 15


def test_models_that_nothing_connects_are_centred_apart():
    votes = [made_up.vote("ab")] * 5 + [made_up.vote("cd", (1, 0))] * 5 + [made_up.vote("cd")]
    found = fitted(votes, "abcde")
    assert found["a"] + found["b"] == pytest.approx(0, abs=1e-9)
    assert found["c"] + found["d"] == pytest.approx(0, abs=1e-9)
    assert found["e"] == pytest.approx(0, abs=1e-9)


def test_ranks_left_open_say_nothing():
    alone = fitted([made_up.vote("abcd", (0, 1, 1, 1))] * 7, "abcd")
    more = [made_up.vote("abcd", (0, 0, 0, 0)), made_up.vote("ab", (0, 0), mode="duel")] * 9
    assert fitted([made_up.vote("abcd", (0, 1, 1, 1))] * 7 + more, "abcd") == alone
    assert alone["b"] == pytest.approx(alone["c"], abs=1e-9)


def test_many_models_at_once():
    truth = {f"m{number:02}": 0.1 * number for number in range(24)}
    votes = made_up.simulate(4000, seed=6, theta=truth, modes=("fixed", "duel", "four"))
    scores = {score.model: score.score for score in rate(votes, bootstraps=0, online=False).models}
    assert made_up.kendall(scores, truth) > 0.9


@pytest.mark.parametrize(
    ("models", "ranks", "told"),
    [("a", (0,), "two or more"), ("aa", (0, 1), "each once"), ("ab", (0, 1, 2), "3 ranks for 2 models")],
)
def test_a_vote_that_cannot_be_is_named(models, ranks, told):
    with pytest.raises(DataError, match=f"battle t0: .*{told}"):
        rate([made_up.vote(models, ranks)])
