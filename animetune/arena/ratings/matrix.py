"""Counts straight from the votes: who beat whom, whose pictures were called bad, and which place on the screen won."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from animetune.arena.ratings.events import comparisons
from animetune.arena.ratings.shapes import POINTS, Positions, Share, WinRates
from animetune.arena.votes import Vote
from animetune.intervals import Z95, Interval, wilson


def share(count: float, n: int) -> Share:
    """`count` of `n`, with its interval."""
    return Share(count, n, count / n if n else None, wilson(count, n) if n else None)


def win_rates(votes: Sequence[Vote], models: Sequence[str]) -> WinRates:
    """Every comparison of two models that the votes hold, also within a pick or ranking of four."""
    number = {model: place for place, model in enumerate(models)}
    wins = [[0.0] * len(models) for _ in models]
    n = [[0] * len(models) for _ in models]
    for vote in votes:
        for first, second, score in comparisons(vote):
            one, other = number[first], number[second]
            wins[one][other] += score
            wins[other][one] += 1 - score
            n[one][other] += 1
            n[other][one] += 1
    return WinRates(tuple(models), wins, n)


def bad_rates(votes: Sequence[Vote], models: Sequence[str]) -> dict[str, Share]:
    """Model -> how often all pictures of a battle that it was in were called bad."""
    shown, bad = dict.fromkeys(models, 0), dict.fromkeys(models, 0)
    for vote in votes:
        for model in vote.models:
            shown[model] += 1
            bad[model] += vote.ranks is None
    return {model: share(bad[model], shown[model]) for model in models}


def positions(votes: Sequence[Vote], scores: Mapping[str, float]) -> list[Positions]:
    """For each number of pictures: which place held the one best picture. Draws and shared first ranks are left out."""
    found = []
    for slots in sorted({len(vote.models) for vote in votes}):
        picked = [0] * slots
        duels = []
        for vote in votes:
            if len(vote.models) != slots or vote.ranks is None or vote.ranks.count(min(vote.ranks)) > 1:
                continue
            best = vote.ranks.index(min(vote.ranks))
            picked[best] += 1
            if slots == 2:
                left, right = vote.models
                duels.append(((scores[left] - scores[right]) / POINTS, best == 0))
        advantage, interval = _left_advantage(duels)
        n = sum(picked)
        found.append(Positions(slots, [share(count, n) for count in picked], advantage, interval))
    return found


def _left_advantage(duels: Sequence[tuple[float, bool]]) -> tuple[float | None, Interval | None]:
    """The shift g that makes P(left wins) = logistic(g + difference) most likely, in points, and Wald's interval.

    Davidson's model, given that it is no draw, is this one.
    """
    wins = sum(won for _, won in duels)
    if wins in (0, len(duels)):
        return None, None
    low, high = -40.0, 40.0
    for _ in range(80):  # the expected wins grow with the shift
        middle = (low + high) / 2
        expected = math.fsum(_logistic(middle + difference) for difference, _ in duels)
        low, high = (middle, high) if expected < wins else (low, middle)
    shift = (low + high) / 2
    chances = [_logistic(shift + difference) for difference, _ in duels]
    half = Z95 / math.sqrt(math.fsum(p * (1 - p) for p in chances))
    return shift * POINTS, Interval((shift - half) * POINTS, (shift + half) * POINTS)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
