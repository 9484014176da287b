"""Adaptive repeats, after AIDXL 0.6: by quality, by what is learned already, and never above a limit.

Published are three rules and two rough numbers (about 100 in a class, about 10 a picture). The formulas are ours:

    rule 1   r = (repeats so far) * (factor of the quality class)
    rule 2   underfitted class     r <- min(max, c r), one c >= 1 for the class, so that they sum to class_total
             the same by hand      r <- c r
             fitted class          r <- min(r, fitted_max); pictures of the quality classes `drop` are dropped
    rule 3   r <- min(r, max)

A class of so few pictures that all of them reach `max` stays short of `class_total`. A class that is above it already
is left alone. Pictures without a style class have rules 1 and 3.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from animetune.curate.config.balance import AdaptiveBalance
from animetune.curate.weigh.states import FITTED, States
from animetune.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Pictures:
    """What adaptive repeats look at; classes are numbers, -1 for none."""

    repeats: np.ndarray
    """float64 (pictures,), so far."""
    style: np.ndarray
    """int32 (pictures,), places in `styles`."""
    styles: np.ndarray
    """object (style classes,)"""
    quality: np.ndarray
    """int32 (pictures,), places in `qualities`."""
    qualities: np.ndarray
    """object (quality classes,)"""


@dataclass(frozen=True, slots=True)
class Adapted:
    """What the rules come to."""

    repeats: np.ndarray
    """float64 (pictures,)"""
    dropped: np.ndarray
    """bool (pictures,)"""
    facts: dict[str, int]
    """Style classes by state, how many underfitted ones stay short of the total, and pictures at the limit."""


def adapt(pictures: Pictures, cfg: AdaptiveBalance, states: States) -> Adapted:
    """Apply the three rules. ConfigError for a style class by hand that no picture has."""
    _check_styles(cfg, pictures.styles)
    fitted = _of_class(pictures.styles, lambda name: states.of_class.get(name, cfg.otherwise) == FITTED, bool)
    by_hand = _of_class(pictures.styles, lambda name: states.repeats.get(name, 0.0), float)
    quality = _of_class(pictures.qualities, lambda name: cfg.quality.get(name, 1.0), float, none=1.0)
    low = _of_class(pictures.qualities, lambda name: name in cfg.drop, bool)[pictures.quality]

    repeats = pictures.repeats * quality[pictures.quality]
    is_fitted = fitted[pictures.style]
    repeats[is_fitted] = np.minimum(repeats[is_fitted], cfg.fitted_max)
    factor = by_hand[pictures.style]
    repeats[factor > 0] *= factor[factor > 0]
    boosted = (pictures.style >= 0) & ~is_fitted & (factor == 0)
    repeats[boosted] = boost(repeats[boosted], pictures.style[boosted], total=cfg.class_total, limit=cfg.max)
    repeats = np.minimum(repeats, cfg.max)

    dropped = is_fitted & low
    totals = np.bincount(pictures.style[boosted], weights=repeats[boosted], minlength=len(pictures.styles))
    seen = np.bincount(pictures.style[boosted], minlength=len(pictures.styles)) > 0
    facts = {
        "fitted": int(fitted[:-1].sum()),
        "underfitted": int((~fitted[:-1]).sum()),
        "by_hand": int((by_hand[:-1] > 0).sum()),
        "short": int((seen & (totals < cfg.class_total * (1 - 1e-6))).sum()),
        "unused_states": len(states.of_class.keys() - set(pictures.styles)),
        "without_style": int((pictures.style < 0).sum()),
        "at_max": int((repeats >= cfg.max).sum()),
        "dropped": int(dropped.sum()),
    }
    return Adapted(repeats, dropped, facts)


def boost(repeats: np.ndarray, classes: np.ndarray, *, total: float, limit: float) -> np.ndarray:
    """min(limit, c r) with one c >= 1 for each class, so that each class sums to `total` as far as it can.

    With the repeats of a class in falling order and the first j at the limit, c_j = (total - j limit) / (sum of the
    others); the first j for which the next one stays within the limit is right.

    `repeats`: float64 (pictures,), from 0; `classes`: int (pictures,). Returns float64 (pictures,).
    """
    if not len(repeats):
        return repeats.copy()
    order = np.lexsort((-repeats, classes))
    falling = repeats[order]
    first = np.flatnonzero(np.concatenate([[True], np.diff(classes[order]) != 0]))
    sizes = np.diff(np.append(first, len(order)))
    of_class = np.repeat(np.arange(len(first)), sizes)
    at_limit = np.arange(len(order)) - first[of_class]
    # Sums from behind: small numbers first, and nothing of another class is subtracted from large ones.
    behind = np.cumsum(falling[::-1])[::-1]
    others = behind - np.append(behind, 0.0)[np.append(first[1:], len(order))][of_class]
    others = np.maximum(others, falling)  # what rounding may have taken
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = (total - at_limit * limit) / others
        fits = factor * falling <= limit
    place = np.minimum.reduceat(np.where(fits, at_limit, sizes[of_class]), first)
    some_fit = place < sizes
    chosen = np.where(some_fit, factor[np.minimum(first + place, len(order) - 1)], np.inf)
    boosted = np.empty_like(repeats)
    positive = falling > 0
    scaled = np.where(positive, falling, 1.0) * np.maximum(chosen, 1.0)[of_class]
    boosted[order] = np.where(positive, np.minimum(scaled, limit), 0.0)
    return boosted


def _of_class(names: np.ndarray, decide: Callable[[str], float], dtype: type, none: float = 0) -> np.ndarray:
    """dtype (classes + 1,): what `decide` says of each class; the last, which -1 indexes, stands for none."""
    return np.array([*map(decide, names), none], dtype=dtype)


def _check_styles(cfg: AdaptiveBalance, styles: Collection[str]) -> None:
    known = set(styles)
    for setting in ("underfitted", "fitted", "repeats"):
        for name in getattr(cfg, setting):
            if name not in known:
                similar = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
                found = f"similar ones: {', '.join(similar)}" if similar else f"there are {len(known):,} style classes"
                raise ConfigError(f"balance: adaptive: {setting}: {name}: no picture has this style class; {found}")
