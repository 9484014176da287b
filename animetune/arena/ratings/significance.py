"""Tests that the ratings share, in the standard library.

Student's t is summed exactly for whole degrees of freedom (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4); many tests
are adjusted by Holm's step-down method (Holm 1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from animetune.intervals import Z95

_MANY = 400
"""Degrees of freedom from which t is taken for normal."""


def two_sided_p(t: float, freedom: int | None) -> float:
    """How likely a |t| at least as large is; `freedom` None is the normal distribution."""
    if freedom is None or freedom > _MANY:
        return math.erfc(abs(t) / math.sqrt(2))
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom")
    angle = math.atan(abs(t) / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2 == 1
    term, total = (cosine, cosine) if is_odd else (1.0, 1.0)
    for k in range(2 if is_odd else 1, freedom - 1, 2):
        term *= cosine * cosine * k / (k + 1)
        total += term
    if not is_odd:
        return max(0.0, 1 - sine * total)
    return max(0.0, 1 - 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0)))


def t95(freedom: int | None) -> float:
    """The 97.5 % point of t."""
    if freedom is None or freedom > _MANY:
        return Z95
    low, high = 1.0, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, freedom) > 0.05 else (low, middle)
    return (low + high) / 2


def normal_point(probability: float) -> float:
    """Where the normal distribution function has this value."""
    return NormalDist().inv_cdf(probability)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p of each test: to reject those of at most 0.05 is wrong anywhere in at most 5 % of all cases."""
    order = sorted(range(len(ps)), key=lambda place: ps[place])
    adjusted, reached = [0.0] * len(ps), 0.0
    for done, place in enumerate(order):
        reached = max(reached, min(1.0, ps[place] * (len(ps) - done)))
        adjusted[place] = reached
    return adjusted
