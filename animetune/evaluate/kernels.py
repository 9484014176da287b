"""Distances of two sets of pictures by a kernel on their features: KID and CMMD, with intervals.

    KID     unbiased MMD² with the kernel (x·y / d + 1)³        Bińkowski et al. 2018, "Demystifying MMD GANs"
    CMMD    1000 MMD² with a Gaussian of sigma 10 on vectors    Jayasumana et al. 2024, "Rethinking FID"
            of length 1, every vector paired with itself too

MMD² = mean k(x, x') + mean k(y, y') - 2 mean k(x, y) (Gretton et al. 2012). Without the pairs of a vector with itself
it is unbiased, and falls below 0 where the two sets are alike; with them, as CMMD is published, it is never below 0 and
shrinks as there are more pictures.

All is computed in float64, in blocks of rows. Intervals resample groups: of what is drawn the prompts, of references
each picture. Copies of a group that is drawn twice are no pairs of each other, for a pair of a picture with itself
would raise every resample above the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from animetune.evaluate.intervals import RESAMPLES, SEED
from animetune.intervals import Interval
from animetune.seeding import Purpose, rng_for, text_counter

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""float64 (n, d), (m, d) -> (n, m)."""
COEF = 1.0
SIGMA = 10.0
SCALE = 1000
"""What CMMD is multiplied with by definition; KID is often shown times this, too."""
MOST_GROUPS = 1000
"""More groups are put together by their place, which keeps intervals right and their cost in bounds."""
FEWEST_GROUPS = 5
"""Of fewer groups no interval is given."""
_ROWS = 1024


class OfSubsets(NamedTuple):
    """KID as the literature gives it."""

    mean: float
    deviation: float
    """Of subsets from their mean; no standard error."""
    subsets: int
    size: int


@dataclass(frozen=True)
class Sums:
    """A kernel summed over the pairs of two sets, by group: `sums` and number of `pairs`, float64 (groups, groups).

    Of a set and itself, pairs of a picture with itself are left out.
    """

    sums: np.ndarray
    pairs: np.ndarray

    @property
    def mean(self) -> float:
        """Over all pairs."""
        return float(self.sums.sum() / self.pairs.sum())


@dataclass(frozen=True)
class Compared:
    """Drawn pictures x and references y under one kernel."""

    xx: Sums
    xy: Sums
    yy: Sums
    count_x: int
    count_y: int


def polynomial(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """KID's kernel."""
    base = x @ y.T / x.shape[1] + COEF
    return np.asarray(base * base * base)  # ten times as fast as a power


def gaussian(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """CMMD's kernel."""
    squares = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)[None] - 2 * x @ y.T
    return np.asarray(np.exp(-np.maximum(squares, 0) / (2 * SIGMA**2)))


def unit_rows(x: np.ndarray) -> np.ndarray:
    """float64 (n, d), each row of length 1; zeros stay."""
    wide = np.asarray(x, dtype=np.float64)
    lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return np.asarray(wide / np.where(lengths == 0, 1, lengths))


def kid(x: np.ndarray, y: np.ndarray) -> float:
    """Of all pictures; what the mean over ever more subsets tends to. (n, d), (m, d), two rows or more each."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return unbiased(compare(polynomial, x, [0] * len(x), y, [0] * len(y)))


def kid_of_subsets(x: np.ndarray, y: np.ndarray, *, subsets: int, size: int, rng: np.random.Generator) -> OfSubsets:
    """Mean and deviation over random subsets of `size` pictures of each side, or of all where there are fewer."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    size = min(size, len(x), len(y))
    if size == len(x) == len(y):
        return OfSubsets(kid(x, y), 0.0, 1, size)
    found = [
        kid(
            x[rng.permutation(len(x))[:size]], y[rng.permutation(len(y))[:size]]
        )  # in the order that torchmetrics draws
        for _ in range(subsets)
    ]
    return OfSubsets(float(np.mean(found)), float(np.std(found)), subsets, size)


def cmmd(x: np.ndarray, y: np.ndarray) -> float:
    """Of (n, d), (m, d) of any length, as published: biased, times 1000."""
    x, y = unit_rows(x), unit_rows(y)
    return SCALE * biased(compare(gaussian, x, [0] * len(x), y, [0] * len(y)))


def compare(kernel: Kernel, x: np.ndarray, x_groups: Sequence[int], y: np.ndarray, y_groups: Sequence[int]) -> Compared:
    """All sums of two sets; groups are numbers from 0, one a row."""
    return Compared(
        grouped_sums(kernel, x, x_groups),
        grouped_sums(kernel, x, x_groups, y, y_groups),
        grouped_sums(kernel, y, y_groups),
        len(x),
        len(y),
    )


def grouped_sums(
    kernel: Kernel,
    x: np.ndarray,
    x_groups: Sequence[int],
    y: np.ndarray | None = None,
    y_groups: Sequence[int] | None = None,
) -> Sums:
    """The kernel over all pairs of a set with another, or of one with itself, by group."""
    is_same = y is None
    if y is None or y_groups is None:
        y, y_groups = x, x_groups
    rows, columns = _folded(x_groups), _folded(y_groups)
    order = None if (np.diff(columns) >= 0).all() else np.argsort(columns, kind="stable")
    sizes_x, sizes_y = np.bincount(rows).astype(np.float64), np.bincount(columns).astype(np.float64)
    starts = np.concatenate([[0], np.cumsum(sizes_y)[:-1]]).astype(np.int64)
    sums = np.zeros((len(sizes_x), len(sizes_y)))
    for start in range(0, len(x), _ROWS):
        values = kernel(x[start : start + _ROWS], y)
        if is_same:
            values[np.arange(len(values)), np.arange(start, start + len(values))] = 0
        by_column = np.add.reduceat(values if order is None else values[:, order], starts, axis=1)
        np.add.at(sums, rows[start : start + _ROWS], by_column)
    return Sums(sums, np.outer(sizes_x, sizes_y) - (np.diag(sizes_x) if is_same else 0))


def groups_of(names: Sequence[str]) -> list[int]:
    """A number for each name, from 0 in the order of their first places."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]


def unbiased(compared: Compared) -> float:
    """MMD² without pairs of a picture with itself."""
    return compared.xx.mean + compared.yy.mean - 2 * compared.xy.mean


def biased(compared: Compared) -> float:
    """MMD² with pairs of a picture with itself, whose kernel is 1; also of a single picture."""
    within = [
        sums.mean + (1 - sums.mean) / count if count > 1 else 1.0
        for sums, count in ((compared.xx, compared.count_x), (compared.yy, compared.count_y))
    ]
    return sum(within) - 2 * compared.xy.mean


def interval(compared: Compared, *, is_biased: bool, purpose: str) -> Interval | None:
    """Of the distance, groups of both sides resampled; None for fewer than FEWEST_GROUPS of either.

    That of a biased distance does not reach below 0, as it cannot.
    """
    x, y = _weights(compared, purpose)
    found = _to_references(compared, x, y, is_biased) + _within(compared.yy, y, is_biased)
    return _ends(np.maximum(found, 0) if is_biased else found, compared)


def change_interval(first: Compared, second: Compared, *, is_biased: bool, purpose: str) -> Interval | None:
    """Of second minus first, both of the same groups in the same order and of the same references."""
    x, y = _weights(first, purpose)
    return _ends(_to_references(second, x, y, is_biased) - _to_references(first, x, y, is_biased), first)


def halves(yy: Sums, *, is_biased: bool, splits: int, purpose: str) -> np.ndarray:
    """Distances of random halves of the references from each other, float64 (splits,): what cannot be told from 0.

    Empty for fewer than twice FEWEST_GROUPS."""
    groups = len(yy.sums)
    if groups < 2 * FEWEST_GROUPS:
        return np.zeros(0)
    rng = rng_for(SEED, Purpose.BOOTSTRAP, text_counter(purpose))
    first = np.zeros((splits, groups))
    for row in first:
        row[rng.permutation(groups)[: groups // 2]] = 1
    across = _mean(yy, first, 1 - first)
    return _within(yy, first, is_biased) + _within(yy, 1 - first, is_biased) - 2 * across


def _folded(groups: Sequence[int]) -> np.ndarray:
    return np.asarray(list(groups), dtype=np.int64) % MOST_GROUPS


def _weights(compared: Compared, purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """How often each group is drawn in each resample: float64 (RESAMPLES, groups) of x, and of y."""
    rng = rng_for(SEED, Purpose.BOOTSTRAP, text_counter(purpose))
    counts = [len(compared.xx.sums), len(compared.yy.sums)]
    x, y = (rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64) for count in counts)
    return x, y


def _to_references(compared: Compared, x: np.ndarray, y: np.ndarray, is_biased: bool) -> np.ndarray:
    """MMD² of each resample but for the references among themselves."""
    return _within(compared.xx, x, is_biased) - 2 * _mean(compared.xy, x, y)


def _mean(sums: Sums, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(((x @ sums.sums) * y).sum(axis=1) / ((x @ sums.pairs) * y).sum(axis=1))


def _within(sums: Sums, weights: np.ndarray, is_biased: bool) -> np.ndarray:
    """Mean over pairs inside a group once for each copy of it, and over pairs of two groups; NaN without pairs."""
    totals = []
    for values in (sums.sums, sums.pairs):
        inside = np.diag(values)
        between = values - np.diag(inside)
        totals.append(((weights @ between) * weights).sum(axis=1) + weights @ inside)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = totals[0] / totals[1]
    if not is_biased:
        return np.asarray(mean)
    sizes = (1 + np.sqrt(1 + 4 * np.diag(sums.pairs))) / 2  # of n (n - 1) pairs
    return np.asarray(mean + (1 - mean) / (weights @ sizes))


def _ends(found: np.ndarray, compared: Compared) -> Interval | None:
    found = found[np.isfinite(found)]
    if min(len(compared.xx.sums), len(compared.yy.sums)) < FEWEST_GROUPS or not len(found):
        return None
    low, high = np.quantile(found, (0.025, 0.975))
    return Interval(float(low), float(high))
