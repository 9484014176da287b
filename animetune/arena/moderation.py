"""What the moderator's page shows, drawn from the votes and their ratings. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from animetune.arena.config import ArenaConfig
from animetune.arena.ratings.shapes import Pair, Ratings, Share, VoterReport
from animetune.arena.report import percent_text
from animetune.arena.votes import Vote

MAX_VOTERS = 500
"""Voters on the page; those with most votes."""
MODES = {"fixed": "two, draws allowed", "duel": "two, one chosen", "four": "four at once"}

LEFT_OUT = {
    "flagged": "flagged, as too fast",
    "repeats": "shown a second time",
    "all_bad": "that called all of them bad",
}


class Bar(NamedTuple):
    """A score on a common scale, 0 to 100: where it is, where its interval begins and how wide that is."""

    at: float
    low: float
    width: float


class RatingRow(NamedTuple):
    """A model."""

    model: str
    score: float
    low: float | None
    high: float | None
    bar: Bar
    votes: int
    places: str
    bad: Share | None


class Cell(NamedTuple):
    """How often the model of the row won against that of the column."""

    share: float | None
    n: int

    @property
    def shade(self) -> int:
        """0 to 10, for the style sheet; 5 is even."""
        return 5 if self.share is None else round(self.share * 10)


class VoterRow(NamedTuple):
    """A voter."""

    name: str
    """A hash; no way back to the voter's id."""
    votes: int
    flagged: int
    all_bad: int
    seconds: float | None
    repeats: Share | None
    with_others: Share | None
    last: str
    is_excluded: bool


@dataclass(frozen=True)
class Moderation:
    """The page."""

    title: str
    goal: int
    votes: int
    """Of voters who are not excluded."""
    all_votes: int
    voters: int
    by_mode: Sequence[tuple[str, int]]
    left_out: Sequence[str]
    """What ratings leave out of `votes`, and why."""
    ratings: Sequence[RatingRow]
    models: Sequence[str]
    matrix: Sequence[Sequence[Cell]]
    confidence: str
    """With which pairs are told apart, as text."""
    open_pairs: Sequence[Pair]
    pairs: int
    votes_needed: int | None
    hopeless: int
    voter_rows: Sequence[VoterRow]
    voters_left_out: int
    consistency: Share
    notes: Sequence[str]
    invitation: str | None
    """Path of the link for voters; None where everybody may vote."""

    @property
    def percent(self) -> int:
        """Of the goal."""
        return min(100, round(100 * self.votes / self.goal))


def moderation(
    cfg: ArenaConfig,
    votes: Sequence[Vote],
    ratings: Ratings,
    excluded: Collection[str],
    *,
    name: Callable[[str], str],
    notes: Sequence[str] = (),
    invitation: str | None = None,
) -> Moderation:
    """The page of an arena. `votes` are all of them, `ratings` those of voters who are not `excluded`;
    `name` gives what a voter is called."""
    counted = [vote for vote in votes if vote.voter not in excluded]
    by_mode = Counter[str](vote.mode for vote in counted)
    progress = ratings.overall.progress
    rows = _voters(votes, ratings.voters, excluded, name)
    matrix = ratings.matrix
    return Moderation(
        title=cfg.title,
        goal=cfg.goal.votes,
        votes=len(counted),
        all_votes=len(votes),
        voters=len({vote.voter for vote in counted}),
        by_mode=[(text, by_mode[mode]) for mode, text in MODES.items() if by_mode[mode]],
        left_out=[f"{ratings.counted[what]:,} {text}" for what, text in LEFT_OUT.items() if ratings.counted[what]],
        ratings=_rows(ratings),
        models=matrix.models,
        matrix=[
            [Cell(wins / n if n else None, n) for wins, n in zip(*row, strict=True)]
            for row in zip(matrix.wins, matrix.n, strict=True)
        ],
        confidence=percent_text(ratings.confidence),
        open_pairs=[pair for pair in progress.pairs if not pair.is_separated],
        pairs=len(progress.pairs),
        votes_needed=progress.votes_needed,
        hopeless=progress.hopeless,
        voter_rows=rows[:MAX_VOTERS],
        voters_left_out=len(rows[MAX_VOTERS:]),
        consistency=ratings.consistency,
        notes=[*ratings.notes, *ratings.overall.notes, *notes],
        invitation=invitation,
    )


def _rows(ratings: Ratings) -> list[RatingRow]:
    scores = ratings.models
    ends = [end for each in scores for end in (each.score, *(each.interval or ()))]
    least, most = min(ends, default=0.0), max(ends, default=1.0)
    span = max(most - least, 1.0)

    def at(score: float) -> float:
        return round(2 + 96 * (score - least) / span, 2)

    rows = []
    for each in scores:
        low, high = each.interval or (None, None)
        start, end = (each.score, each.score) if low is None or high is None else (low, high)
        bar = Bar(at(each.score), at(start), round(at(end) - at(start), 2))
        best, worst = each.places
        places = str(best) if best == worst else f"{best} to {worst}"
        rows.append(RatingRow(each.model, each.score, low, high, bar, each.votes, places, ratings.bad.get(each.model)))
    return rows


def _voters(
    votes: Sequence[Vote], reports: Sequence[VoterReport], excluded: Collection[str], name: Callable[[str], str]
) -> list[VoterRow]:
    """Those with most votes first."""
    known = {report.voter: report for report in reports}
    counts = Counter(vote.voter for vote in votes)
    flagged = Counter(vote.voter for vote in votes if vote.flags)
    bad = Counter(vote.voter for vote in votes if vote.ranks is None)
    last: dict[str, str] = {}
    for vote in votes:
        last[vote.voter] = max(vote.at, last.get(vote.voter, ""))
    rows = []
    for voter, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        report = known.get(voter)
        rows.append(
            VoterRow(
                name=name(voter),
                votes=count,
                flagged=flagged[voter],
                all_bad=bad[voter],
                seconds=None if report is None else report.seconds,
                repeats=None if report is None else report.repeats,
                with_others=None if report is None else report.with_others,
                last=last[voter][:16].replace("T", " "),
                is_excluded=voter in excluded,
            )
        )
    return rows
