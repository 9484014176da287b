"""The formulas of balancing: from what pictures have, factors on how often they are seen.

DashAnime XL: partition the tags into groups, count each group, sample frequent groups less and rare ones more; then
move each content bucket toward the median bucket. No formulas are published; ours, for a strength a in [0, 1]:

    group g with f_g pictures          w_g = (median f / f_g)^a
    picture with the groups G          factor = exp(mean of ln w_g over G)
    picture with log-ratio l of tags   factor = exp(a l)                        (`weights`)
    bucket b that is seen n_b times    factor = (median n / n_b)^a
    synthetic pictures, share s        factor = min(1, p / (1 - p) * (1 - s) / s)    for a largest share p

Sums run in row order in NumPy: Polars adds up floats in an order that depends on its threads.
"""

from __future__ import annotations

import numpy as np


def group_factors(groups: np.ndarray, *, strength: float) -> np.ndarray:
    """The geometric mean of (median group / group)^strength over the groups of each picture; 1 without a group.

    `groups`: bool (pictures, groups), which picture has a tag of which group. Returns float64 (pictures,).
    """
    pictures = groups.sum(axis=0)
    present = pictures[pictures > 0]
    if not len(present):
        return np.ones(len(groups))
    log_weights = strength * np.log(np.median(present) / np.maximum(pictures, 1))
    total = np.zeros(len(groups))
    for index, log_weight in enumerate(log_weights):  # not a matrix product: BLAS adds up in an order of its own
        total += groups[:, index] * log_weight
    return np.exp(total / np.maximum(groups.sum(axis=1), 1))


def bucket_factors(buckets: np.ndarray, seen: np.ndarray, *, strength: float) -> np.ndarray:
    """(median bucket / bucket)^strength for each picture, where a bucket is as large as it is seen.

    `buckets`: int (pictures,), from 0; `seen`: float64 (pictures,). Returns float64 (pictures,). A bucket that is never
    seen has 1, and is not counted in the median.
    """
    if not len(buckets):
        return np.ones(0)
    size = np.bincount(buckets, weights=seen)
    present = size[size > 0]
    if not len(present):
        return np.ones(len(buckets))
    factors = (np.median(present) / np.where(size > 0, size, np.median(present))) ** strength
    return factors[buckets]


def synthetic_factor(is_synthetic: np.ndarray, seen: np.ndarray, *, max_share: float) -> float:
    """The factor on synthetic pictures that leaves them `max_share` of what is seen, at most 1.

    Raises ValueError when all that is seen is synthetic, so that no factor can.
    """
    synthetic, real = float(seen[is_synthetic].sum()), float(seen[~is_synthetic].sum())
    if synthetic and not real:
        raise ValueError("all pictures are synthetic")
    return min(1.0, max_share / (1 - max_share) * real / synthetic) if synthetic else 1.0
