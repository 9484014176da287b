"""How far the scores of drawn pictures lie from those of real ones: mean shift and Wasserstein distance.

    wasserstein(x, y)       integral of |F_x - F_y|, the area between the curves of both, in units of the score
                            (Wasserstein-1; Ramdas, Garcia and Cuturi 2017)
    Compared.of(...)        both numbers with 95 % intervals that resample prompts and real pictures, both whole

The distance is never negative, so chance alone makes it more than 0: `chance` is what as many real pictures, drawn at
random, have against all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from animetune.evaluate.intervals import RESAMPLES, SEED
from animetune.intervals import Interval
from animetune.seeding import Purpose, rng_for, text_counter

_AT_ONCE = 100


@dataclass(frozen=True)
class Scores:
    """Scores of pictures, and the prompt of each, as numbers from 0."""

    values: np.ndarray
    """float64 (n,)."""
    prompts: np.ndarray
    """int64 (n,)."""

    @classmethod
    def of(cls, scored: Sequence[tuple[str, float]]) -> Scores:
        """Of (prompt, score); prompts are numbered in order of name."""
        names = sorted({prompt for prompt, _ in scored})
        number = {name: place for place, name in enumerate(names)}
        return cls(
            np.array([value for _, value in scored], dtype=np.float64),
            np.array([number[prompt] for prompt, _ in scored], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def prompt_count(self) -> int:
        """How many different prompts there are."""
        return int(self.prompts.max(initial=-1)) + 1


@dataclass(frozen=True)
class Compared:
    """Drawn against real."""

    shift: float
    """Mean of the drawn minus mean of the real."""
    distance: float
    shift_interval: Interval | None
    distance_interval: Interval | None
    shift_draws: np.ndarray
    """float64 (resamples,): of resampled prompts and real pictures; equal purposes draw the same ones."""
    distance_draws: np.ndarray

    @classmethod
    def of(cls, drawn: Scores, real: Scores, *, purpose: str) -> Compared:
        """Raises ValueError where one of the two is empty."""
        if not len(drawn) or not len(real):
            raise ValueError("no scores to compare")
        at = np.concatenate([drawn.values, real.values])
        order = np.argsort(at, kind="stable")
        shifts, distances = [], []
        for mine, theirs in zip(_weights(drawn, f"{purpose}/drawn"), _weights(real, f"{purpose}/real"), strict=True):
            shifts.append(mine @ drawn.values - theirs @ real.values)
            distances.append(_areas(at, order, np.concatenate([mine, -theirs], axis=1)))
        draws = np.concatenate(shifts), np.concatenate(distances)
        enough = drawn.prompt_count > 1 and real.prompt_count > 1
        return cls(
            float(drawn.values.mean() - real.values.mean()),
            wasserstein(drawn.values, real.values),
            interval_of(draws[0]) if enough else None,
            interval_of(draws[1]) if enough else None,
            *draws,
        )


def wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """Of two samples, float64 (n,) and (m,), every picture of one counting as much."""
    at = np.concatenate([first, second])
    weights = np.concatenate([np.full(len(first), 1 / len(first)), np.full(len(second), -1 / len(second))])
    return float(_areas(at, np.argsort(at, kind="stable"), weights[None])[0])


def chance(real: Scores, count: int, *, purpose: str) -> tuple[float, Interval]:
    """Mean distance, and its 95 % range, of `count` real pictures drawn at random against all real ones."""
    rng = rng_for(SEED, Purpose.BOOTSTRAP, text_counter(purpose))
    draws = np.array([
        wasserstein(real.values[rng.integers(0, len(real), size=count)], real.values) for _ in range(RESAMPLES // 10)
    ])  # fmt: skip
    return float(draws.mean()), interval_of(draws)


def interval_of(draws: np.ndarray) -> Interval:
    """The middle 95 % of resampled numbers."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(float(low), float(high))


def _areas(at: np.ndarray, order: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float64 (k,): area below |cumulated weights| of each row of (k, n) weights that stand at the values (n,)."""
    between = np.cumsum(weights[:, order], axis=1)[:, :-1]
    return np.asarray(np.abs(between) @ np.diff(at[order]))


def _weights(scores: Scores, purpose: str) -> Iterator[np.ndarray]:
    """Shares of the pictures when prompts are resampled whole, float64 (resamples, n), some resamples at a time."""
    rng = rng_for(SEED, Purpose.BOOTSTRAP, text_counter(purpose))
    prompts = scores.prompt_count
    for start in range(0, RESAMPLES, _AT_ONCE):
        size = min(_AT_ONCE, RESAMPLES - start)
        drawn = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=size)[:, scores.prompts]
        yield drawn / drawn.sum(axis=1, keepdims=True)
