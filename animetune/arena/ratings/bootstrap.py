"""Intervals of the scores by resampling: whole voters, or votes where there are too few voters.

People differ in taste, so the votes of one resemble each other and the number of voters bounds what is known. Voters
are drawn with replacement, each with all of their votes (the cluster bootstrap). Few voters vary less in resamples than
in truth: deviations are widened by sqrt(V / (V - 1)) and by Student's t with V - 1 degrees of freedom over the normal
distribution's point. Below `FEWEST` voters that says next to nothing; then votes are drawn, and the intervals are about
what these voters would say in more votes, not about others like them.

Resampling alone never shows what has not happened: of ten wins out of ten every resample is the same. So each resample
also has a random number of made-up duels, Poisson with mean `PHANTOM`, each way between every two models that were ever
compared. They cost one vote a pair: with 600 votes on six models, resampled distances are 2 % short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from animetune.arena.ratings.events import Tally
from animetune.arena.ratings.likelihood import Likelihood
from animetune.arena.ratings.significance import t95, two_sided_p
from animetune.intervals import Z95, Interval
from animetune.seeding import Purpose, rng_for, text_counter

FEWEST = 5
"""Voters below which votes are resampled."""
PHANTOM = 0.5
"""Made-up wins of a resample, on average, each way of each compared pair."""


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
        return Interval(
            min(estimate, estimate + factor * (float(low) - estimate)),
            max(estimate, estimate + factor * (float(high) - estimate)),
        )

    def p_value(self, values: np.ndarray, votes: int) -> tuple[float, float] | None:
        """t of a number against zero, and its two-sided p; None where the resamples do not vary.

        t is of their mean, which made-up duels hold back as far as the votes are few. No test of so many votes can say
        more than that all went one way, so p is at least 2^(1 - votes).
        """
        error = self.widening * float(np.std(values)) if len(values) else 0.0
        if error <= 1e-9:
            return None
        t = float(values.mean()) / error
        return t, min(1.0, max(two_sided_p(t, self.freedom), 2.0 ** (1 - votes)))


def resample(likelihood: Likelihood, tally: Tally, beta: np.ndarray, *, seed: int, times: int) -> Resamples:
    """Fit `times` resamples, each from `beta`, the strengths under all votes."""
    voters = len(tally.voters)
    if times == 0 or not voters:
        return Resamples(np.zeros((0, likelihood.models)), "nothing", None, 1.0)
    rng = rng_for(seed, Purpose.BOOTSTRAP, text_counter("arena"))
    by_voter = voters >= FEWEST
    if by_voter:
        weights = rng.multinomial(voters, np.full(voters, 1 / voters), size=times) @ tally.counts
    else:
        totals = tally.counts.sum(axis=0)
        weights = rng.multinomial(int(totals.sum()), totals / totals.sum(), size=times).astype(np.float64)
    weights[:, tally.duels] += rng.poisson(PHANTOM, size=(times, len(tally.duels)))
    thetas = likelihood.fit(weights, beta)[:, : likelihood.models]
    if by_voter:
        return Resamples(thetas, "voters", voters - 1, math.sqrt(voters / (voters - 1)))
    return Resamples(thetas, "votes", None, 1.0)
