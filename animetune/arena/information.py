"""How much a vote between two models would teach, by what the votes so far say.

Bradley-Terry strengths with a normal prior, so that models without votes are possible, at their most probable place;
the inverse of the curvature there is how uncertain they are (Laplace). It serves to choose who meets; ratings are made
elsewhere (`arena.ratings`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

PRIOR_SD = 1.5
"""Of a strength, in natural logarithms of odds: 260 points of Elo."""
_STEPS = 30
_TOLERANCE = 1e-6


class Strengths(NamedTuple):
    """What is believed of m models."""

    mean: np.ndarray
    """(m,) float64: logarithms of odds."""
    covariance: np.ndarray
    """(m, m) float64."""


def fit_strengths(wins: np.ndarray) -> Strengths:
    """Strengths by Newton's method; `wins` (m, m): how often the row beat the column, a draw half a win for both.

    The sum that is minimised is strictly convex, its curvature at least that of the prior, and steps that do not lead
    down are halved: it always converges.
    """
    count = len(wins)
    games = wins + wins.T
    mean = np.zeros(count)
    value = _loss(mean, wins)
    for _ in range(_STEPS):
        expected = _chance(mean)
        slope = (games * expected - wins).sum(axis=1) + mean / PRIOR_SD**2
        step = np.linalg.solve(_curvature(games, expected), slope)
        scale = 1.0
        while scale > _TOLERANCE and (tried := _loss(mean - scale * step, wins)) > value:
            scale /= 2
        if scale <= _TOLERANCE:
            break
        mean, value = mean - scale * step, tried
        if np.abs(scale * step).max() < _TOLERANCE:
            break
    return Strengths(mean, np.linalg.inv(_curvature(games, _chance(mean))))


def teaching(strengths: Strengths) -> np.ndarray:
    """(m, m), symmetric, 0 on the diagonal: what one vote between two models is worth.

    A vote between i and j has the Fisher information w = p (1 - p), and takes w c^2 / (1 + w v) from the variance of
    any difference of two models, where v is the variance of the difference of i and j and c the covariance of both.
    What it takes, as a share of that variance, counts by how likely the order of those two is not what it seems.
    """
    mean, covariance = strengths
    count = len(mean)
    first, second = np.triu_indices(count, 1)
    over = covariance[first] - covariance[second]
    shared = over[:, first] - over[:, second]
    variance = shared.diagonal()
    gap = mean[first] - mean[second]
    doubt = np.array([math.erfc(abs(sigmas) / math.sqrt(2)) / 2 for sigmas in gap / np.sqrt(variance)])
    chance = _chance(mean)[first, second]
    information = chance * (1 - chance)
    worth = information / (1 + information * variance) * (doubt / variance @ shared**2)
    matrix = np.zeros((count, count))
    matrix[first, second] = matrix[second, first] = worth
    return matrix


def _chance(mean: np.ndarray) -> np.ndarray:
    """(m, m): the probability that the row beats the column."""
    return 1 / (1 + np.exp(np.clip(mean[None, :] - mean[:, None], -700, 700)))


def _loss(mean: np.ndarray, wins: np.ndarray) -> float:
    gaps = mean[None, :] - mean[:, None]
    return float((wins * np.logaddexp(0, gaps)).sum() + (mean**2).sum() / (2 * PRIOR_SD**2))


def _curvature(games: np.ndarray, expected: np.ndarray) -> np.ndarray:
    weight = games * expected * (1 - expected)
    curvature = -weight
    curvature[np.diag_indices(len(games))] = weight.sum(axis=1) - weight.diagonal() + PRIOR_SD**-2
    return curvature
