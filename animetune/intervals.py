"""95 % intervals, as every page of scores and votes has them: their type, and Wilson's of a share."""

from __future__ import annotations

import math
from typing import NamedTuple

Z95 = 1.959963984540054
"""The normal distribution's 97.5 % point."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def wilson(count: float, n: int) -> Interval:
    """Wilson's score interval (Wilson 1927) of the share count / n; (0, 1) of nothing. Half a count is a draw."""
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n}")
    if n == 0:
        return Interval(0.0, 1.0)
    share, z2 = count / n, Z95 * Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(0.0 if count == 0 else middle - half, 1.0 if count == n else middle + half)
