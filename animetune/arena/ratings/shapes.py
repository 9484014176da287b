"""What ratings are made of. Scores are on Elo's scale: 400 points are odds of 10 to 1, and 1000 is the models' mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from animetune.intervals import Interval

MIDDLE = 1000.0
POINTS = 400 / math.log(10)
"""Points of Elo to a unit of theta."""


@dataclass(frozen=True)
class Rules:
    """Which votes count for scores. Bad rates, positions and voters are told with the same votes and all repeats."""

    flagged: Literal["drop", "keep"] = "drop"
    """Votes with a flag, such as those that came too fast."""
    repeats: Literal["drop", "keep"] = "drop"
    """Battles that were shown to the same voter again: they measure the voter, and are no second opinion."""


@dataclass(frozen=True)
class Share:
    """A share with Wilson's interval."""

    count: float
    n: int
    value: float | None
    """None of nothing."""
    interval: Interval | None


@dataclass(frozen=True)
class Score:
    """One model."""

    model: str
    score: float
    interval: Interval | None
    """95 %; None where nothing was compared or no resamples were asked for."""
    votes: int
    """Votes that preferred something and showed this model."""
    places: tuple[int, int]
    """The best and the worst place that the separated pairs leave open, from 1."""


@dataclass(frozen=True)
class Pair:
    """How sure it is that one model is better than another."""

    better: str
    worse: str
    difference: float
    """Points of Elo, not negative."""
    interval: Interval | None
    p: float | None
    """Two-sided, of this pair alone; None where no votes connect the two or nothing was resampled."""
    p_holm: float | None
    """Adjusted for all pairs (Holm 1979)."""
    is_separated: bool
    """p_holm is at most 1 - `Ratings.confidence`."""
    compared: int
    """Votes that compare the two directly."""
    votes_needed: int | None
    """More votes in all, spread as before, until a difference like this is found 4 times out of 5; 0 once it is, None
    where it would take more than `progress.MOST` times the votes there are, or there is no p."""


@dataclass(frozen=True)
class Progress:
    """How far the votes have come in telling the models apart."""

    pairs: Sequence[Pair]
    """Every two models, the surest first."""
    separated: int
    votes: int
    votes_needed: int | None
    """For the pairs that are not hopeless."""
    hopeless: int
    """Pairs too alike to be told apart with `progress.MOST` times the votes."""


@dataclass(frozen=True)
class View:
    """Scores out of some of the votes."""

    scores: Sequence[Score]
    """Best first."""
    votes: int
    """Votes that prefer something."""
    draw: float | None
    """Davidson's nu; a draw between equals has probability nu / (2 + nu). None where no draw was offered."""
    resampled: Literal["voters", "votes", "nothing"]
    progress: Progress
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class WinRates:
    """Direct comparisons: rows against columns, in the order of the scores."""

    models: Sequence[str]
    wins: Sequence[Sequence[float]]
    """A draw is half a win."""
    n: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Positions:
    """Whether the place on the screen matters, of votes that showed so many pictures and picked one."""

    slots: int
    picked: Sequence[Share]
    """From left to right."""
    left_advantage: float | None
    """Of two pictures: points of Elo that lying on the left is worth, given the models' scores."""
    interval: Interval | None


@dataclass(frozen=True)
class VoterReport:
    """One voter."""

    voter: str
    votes: int
    flagged: int
    all_bad: int
    seconds: float
    """Median time of a vote."""
    repeats: Share
    """Repeated battles that were answered as before."""
    with_others: Share
    """Comparisons won by the model that all other voters rate higher; draws are left out."""


@dataclass(frozen=True)
class SkillScore:
    """What openskill says of a model (Weng and Lin 2011, Plackett-Luce)."""

    model: str
    mu: float
    sigma: float
    """Of the votes as they came; it knows nothing of voters."""


@dataclass(frozen=True)
class Ratings:
    """All that the votes say."""

    overall: View
    matrix: WinRates
    bad: Mapping[str, Share]
    """Model -> votes that called all pictures bad among those that showed it."""
    positions: Sequence[Positions]
    voters: Sequence[VoterReport]
    consistency: Share
    """Of all voters' repeats."""
    elo: Mapping[str, float]
    """Model -> K = 32, averaged over shuffled orders of the votes."""
    openskill: Sequence[SkillScore] | None
    """None where the package is missing or was not asked for."""
    modes: Mapping[str, View]
    groups: Mapping[str, View]
    """Views by group of prompts."""
    counted: Mapping[str, int]
    """How many votes there are, and how many of them were left out for which reason."""
    rules: Rules = field(default_factory=Rules)
    confidence: float = 0.95
    """With which pairs are told apart, over all of them; intervals are 95 % whatever it is."""
    bootstraps: int = 0
    seed: int = 0
    notes: Sequence[str] = ()

    @property
    def models(self) -> Sequence[Score]:
        """Scores out of all votes, best first."""
        return self.overall.scores
