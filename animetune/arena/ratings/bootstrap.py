"""Intervals of the scores by resampling: whole voters, or votes where there are too few voters.

People differ in taste, so the votes of one resemble each other and the number of voters bounds what is known. Voters
are drawn with replacement, each with all of their votes (the cluster bootstrap). Few voters vary less in resamples than
in truth: deviations are widened by sqrt(V / (V - 1)) and by Student's t with V - 1 degrees of freedom over the normal
distribution's point. Below `FEWEST` voters that says next to nothing; then votes are drawn, and the intervals are about
what these voters would say in more votes, not about others like them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from animetune.arena.ratings.events import Tally
from animetune.arena.ratings.intervals import Z95, Interval, t95, two_sided_p
from animetune.arena.ratings.likelihood import Likelihood
from animetune.seeding import Purpose, rng_for, text_counter

FEWEST = 5
"""Voters below which votes are resampled."""


@dataclass(frozen=True)
class Resamples:
    """Strengths under resampled votes."""

    thetas: np.ndarray
    """float64 (resamples, models)."""
    unit: Literal["voters", "votes", "nothing"]
    freedom: int | None
    """Degrees of freedom of a standard error; None is as good as infinite."""
    widening: float
    """What a standard deviation over the resamples is multiplied by."""

    def interval(self, estimate: float, values: np.ndarray) -> Interval | None:
        """95 % of a number whose values under the resamples are `values`."""
        if not len(values):
            return None
        factor = self.widening * t95(self.freedom) / Z95
        low, high = np.quantile(values, (0.025, 0.975))
        return Interval(estimate + factor * (float(low) - estimate), estimate + factor * (float(high) - estimate))

    def p_value(self, estimate: float, values: np.ndarray) -> tuple[float, float] | None:
        """t of `estimate` against zero, and its two-sided p; None where the resamples do not vary."""
        error = self.widening * float(np.std(values)) if len(values) else 0.0
        if error <= 1e-9:
            return None
        return estimate / error, two_sided_p(estimate / error, self.freedom)


def resample(likelihood: Likelihood, tally: Tally, beta: np.ndarray, *, seed: int, times: int) -> Resamples:
    """Fit `times` resamples, each from `beta`, the strengths under all votes."""
    voters = len(tally.voters)
    if times == 0 or not tally.events:
        return Resamples(np.zeros((0, likelihood.models)), "nothing", None, 1.0)
    rng = rng_for(seed, Purpose.BOOTSTRAP, text_counter("arena"))
    if voters >= FEWEST:
        weights = rng.multinomial(voters, np.full(voters, 1 / voters), size=times) @ tally.counts
        fitted = likelihood.fit(weights, beta)
        return Resamples(fitted[:, : likelihood.models], "voters", voters - 1, math.sqrt(voters / (voters - 1)))
    totals = tally.counts.sum(axis=0)
    drawn = rng.multinomial(int(totals.sum()), totals / totals.sum(), size=times)
    fitted = likelihood.fit(drawn.astype(np.float64), beta)
    return Resamples(fitted[:, : likelihood.models], "votes", None, 1.0)
