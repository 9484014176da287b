"""Shares, means and differences with their 95 % intervals, in NumPy and the standard library.

    share of n pictures              Wilson's score interval (`animetune.intervals`)
    mean, difference of pairs        percentile bootstrap that resamples prompts, not pictures (Efron 1979)
    pairs of yes and no              exact McNemar test, two-sided (McNemar 1947)
    order of words                   Spearman's rank correlation, ties at their mean rank

Pictures of one prompt resemble each other, so whatever is resampled is resampled by prompt. Wilson's interval takes
pictures as independent: with several seeds a prompt it is too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from animetune.intervals import Interval
from animetune.seeding import Purpose, rng_for, text_counter

RESAMPLES = 2000
SEED = 0


def bootstrap(values_by_prompt: Mapping[str, Sequence[float]], *, purpose: str) -> Interval | None:
    """Interval of the mean over all values, prompts resampled whole; None for fewer than two prompts.

    `purpose` names the stream of random draws: equal names and numbers give equal intervals.
    """
    prompts = [values_by_prompt[name] for name in sorted(values_by_prompt) if len(values_by_prompt[name])]
    if len(prompts) < 2:
        return None
    sums = np.array([math.fsum(values) for values in prompts])
    counts = np.array([len(values) for values in prompts], dtype=np.float64)
    rng = rng_for(SEED, Purpose.BOOTSTRAP, text_counter(purpose))
    chosen = rng.integers(0, len(prompts), size=(RESAMPLES, len(prompts)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(low), float(high))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of pairs that differ: how likely so lopsided a split is if both are as frequent."""
    n, fewer = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    tail = ways = 1
    for k in range(1, fewer + 1):  # each binomial coefficient from the one before: of thousands, comb takes a minute
        ways = ways * (n - k + 1) // k
        tail += ways
    return min(1.0, 2 * tail / 2**n)


def mean_ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1 for the least; equal values share their mean rank."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            ranks[place] = (start + end) / 2 + 1
        start = end + 1
    return ranks


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Rank correlation, -1 to 1; None where one of them does not vary, or there are fewer than two pairs."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values and {len(second)}")
    if len(first) < 2:
        return None
    a, b = mean_ranks(first), mean_ranks(second)
    middle = (len(a) + 1) / 2
    covariance = math.fsum((x - middle) * (y - middle) for x, y in zip(a, b, strict=True))
    spread = math.fsum((x - middle) ** 2 for x in a) * math.fsum((y - middle) ** 2 for y in b)
    return None if spread == 0 else max(-1.0, min(1.0, covariance / math.sqrt(spread)))
