"""Elo as the Illustrious paper prints it: R' = R + K (actual - expected), for comparison with what others report.

Elo depends on the order of the votes. Here it is the mean over `SHUFFLES` random orders. A pick of the best of four is
three wins at once, a ranking six comparisons at once, all expected from the ratings before them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animetune.arena.ratings.events import comparisons
from animetune.arena.ratings.shapes import MIDDLE
from animetune.arena.votes import Vote
from animetune.seeding import Purpose, rng_for, text_counter

K = 32.0
SHUFFLES = 20


def elo(votes: Sequence[Vote], models: Sequence[str], *, k: float = K) -> dict[str, float]:
    """Model -> rating, the votes taken once in the order given."""
    return _played(votes, models, k=k, orders=None)


def shuffled_elo(
    votes: Sequence[Vote], models: Sequence[str], *, seed: int, k: float = K, shuffles: int = SHUFFLES
) -> dict[str, float]:
    """Model -> mean rating over random orders of the votes."""
    rng = rng_for(seed, Purpose.BOOTSTRAP, text_counter("elo"))
    in_order = sorted(votes, key=lambda vote: vote.battle)
    orders = np.stack([rng.permutation(len(in_order)) for _ in range(shuffles)])
    return _played(in_order, models, k=k, orders=orders)


def _played(votes: Sequence[Vote], models: Sequence[str], *, k: float, orders: np.ndarray | None) -> dict[str, float]:
    number = {model: place for place, model in enumerate(models)}
    played = [list(comparisons(vote)) for vote in votes]
    width = max(map(len, played), default=0)
    first, second = (np.zeros((len(votes), width), dtype=np.intp) for _ in range(2))
    score, weight = (np.zeros((len(votes), width)) for _ in range(2))
    for row, found in enumerate(played):
        for column, (one, other, won) in enumerate(found):
            first[row, column], second[row, column] = number[one], number[other]
            score[row, column], weight[row, column] = won, k
    if orders is None:
        orders = np.arange(len(votes))[None]
    ratings = np.full((len(orders), len(models)), MIDDLE)
    rows = np.arange(len(orders))[:, None]
    for chosen in orders.T:
        one, other = first[chosen], second[chosen]
        expected = 1 / (1 + 10 ** ((ratings[rows, other] - ratings[rows, one]) / 400))
        change = weight[chosen] * (score[chosen] - expected)
        np.add.at(ratings, (rows, one), change)
        np.add.at(ratings, (rows, other), -change)
    return dict(zip(models, ratings.mean(axis=0).tolist(), strict=True))
