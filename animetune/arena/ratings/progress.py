"""Which models the votes tell apart, and how many more votes the others would take.

A pair is separated where the difference of its scores, over its bootstrap error, has p at most `alpha` after Holm's
correction for all pairs (`Resamples.p_value`). Errors shrink with the square root of the votes, so a difference of t
errors takes ((c + 0.84) / t)^2 times the votes to be found with probability 0.8, where c is the point that the hardest
of the pairs still open must pass. That takes the difference for true and more votes for more voters: it is a plan, no
promise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from animetune.arena.ratings.bootstrap import Resamples
from animetune.arena.ratings.shapes import POINTS, Pair, Progress, WinRates
from animetune.arena.ratings.significance import holm, normal_point
from animetune.intervals import Interval

POWER = 0.8
MOST = 100
"""Times the votes there are, beyond which a pair counts as too alike."""


def progress(
    theta: np.ndarray,
    resamples: Resamples,
    matrix: WinRates,
    comparable: Sequence[Sequence[int]],
    shown: Sequence[int],
    votes: int,
    *,
    alpha: float,
) -> Progress:
    """Every pair of `matrix.models`, whose strengths are `theta`.

    `alpha` is how likely equals may be called apart, over all pairs; `comparable` are the groups that votes
    connect, `shown` the votes with a preference that showed each model.
    """
    models = matrix.models
    group_of = {model: number for number, group in enumerate(comparable) for model in group}
    tests: dict[tuple[int, int], tuple[float, float]] = {}
    pairs = [
        (one, other) if theta[one] >= theta[other] else (other, one)
        for one, other in itertools.combinations(range(len(models)), 2)
    ]
    for better, worse in pairs:
        values = resamples.thetas[:, better] - resamples.thetas[:, worse]
        test = resamples.p_value(values, min(shown[better], shown[worse]))
        if test is not None and group_of[better] == group_of[worse]:
            tests[better, worse] = test
    # a pair without a test is still one of the family
    adjusted = dict(zip(pairs, holm([tests[pair][1] if pair in tests else 1.0 for pair in pairs]), strict=True))
    is_open = [pair for pair in pairs if pair not in tests or adjusted[pair] > alpha]
    found = []
    for better, worse in pairs:
        difference = float(theta[better] - theta[worse])
        pair = (better, worse)
        test = tests.get(pair)
        interval = None
        if test is not None:
            ends = resamples.interval(difference, resamples.thetas[:, better] - resamples.thetas[:, worse])
            interval = None if ends is None else Interval(*(end * POINTS for end in ends))
        found.append(
            Pair(
                better=models[better],
                worse=models[worse],
                difference=difference * POINTS,
                interval=interval,
                p=None if test is None else test[1],
                p_holm=None if test is None else adjusted[pair],
                is_separated=pair not in is_open,
                compared=matrix.n[better][worse],
                votes_needed=0 if pair not in is_open else _needed(test, votes, alpha / len(is_open)),
            )
        )
    found.sort(key=lambda each: (2.0 if each.p is None else each.p, -each.difference, each.better, each.worse))
    needed = [each.votes_needed for each in found if each.votes_needed is not None]
    return Progress(
        pairs=found,
        separated=len(pairs) - len(is_open),
        votes=votes,
        votes_needed=max(needed, default=None),
        hopeless=sum(each.p is not None and each.votes_needed is None for each in found),
    )


def places(models: Sequence[str], found: Progress) -> dict[str, tuple[int, int]]:
    """Model -> best and worst place: behind all that are surely better, before all that are surely worse."""
    above, below = dict.fromkeys(models, 0), dict.fromkeys(models, 0)
    for pair in found.pairs:
        above[pair.worse] += pair.is_separated
        below[pair.better] += pair.is_separated
    return {model: (1 + above[model], len(models) - below[model]) for model in models}


def _needed(test: tuple[float, float] | None, votes: int, alpha: float) -> int | None:
    if test is None or test[0] <= 0:
        return None
    point = normal_point(1 - alpha / 2) + normal_point(POWER)
    times = (point / test[0]) ** 2 - 1
    return math.ceil(max(times * votes, 1)) if times <= MOST else None
