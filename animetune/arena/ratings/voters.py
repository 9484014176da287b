"""Voters: whether they agree with themselves, shown the same battle again, and with everybody else."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from animetune.arena.ratings.events import Tally, comparisons
from animetune.arena.ratings.likelihood import Likelihood
from animetune.arena.ratings.matrix import share
from animetune.arena.ratings.shapes import VoterReport
from animetune.arena.votes import Vote


def repeats_kept(votes: Sequence[Vote]) -> dict[str, tuple[int, int]]:
    """Voter -> (repeats answered as before, repeats). As before: the same best picture or pictures, or all bad again.

    A repeat of what another voter saw, or of no known battle, is not counted.
    """
    by_battle = {(vote.voter, vote.battle): vote for vote in votes}
    found: dict[str, tuple[int, int]] = {}
    for vote in votes:
        first = None if vote.repeat_of is None else by_battle.get((vote.voter, vote.repeat_of))
        if first is not None and set(first.models) == set(vote.models):
            same, n = found.get(vote.voter, (0, 0))
            found[vote.voter] = (same + (_best(first) == _best(vote)), n + 1)
    return found


def reports(
    votes: Sequence[Vote], rated: Sequence[Vote], likelihood: Likelihood, tally: Tally, start: Sequence[float]
) -> list[VoterReport]:
    """One report a voter of `votes`, by name; `rated` are the votes that the scores were made of, as is `tally`."""
    repeats = repeats_kept(votes)
    agreement = _with_others(rated, likelihood, tally, start)
    by_voter: dict[str, list[Vote]] = {}
    for vote in votes:
        by_voter.setdefault(vote.voter, []).append(vote)
    return [
        VoterReport(
            voter=voter,
            votes=len(mine),
            flagged=sum(bool(vote.flags) for vote in mine),
            all_bad=sum(vote.ranks is None for vote in mine),
            seconds=statistics.median(vote.milliseconds for vote in mine) / 1000,
            repeats=share(*repeats.get(voter, (0, 0))),
            with_others=share(*agreement.get(voter, (0, 0))),
        )
        for voter, mine in sorted(by_voter.items())
    ]


def _with_others(
    votes: Sequence[Vote], likelihood: Likelihood, tally: Tally, start: Sequence[float]
) -> Mapping[str, tuple[int, int]]:
    """Voter -> (comparisons won by whom the others rate higher, comparisons); empty for a single voter."""
    if len(tally.voters) < 2:
        return {}
    thetas = likelihood.fit(tally.counts.sum(axis=0) - tally.counts, np.asarray(start))
    row = {voter: place for place, voter in enumerate(tally.voters)}
    number = {model: place for place, model in enumerate(tally.models)}
    found: dict[str, tuple[int, int]] = {}
    for vote in votes:
        for first, second, score in comparisons(vote):
            theta = thetas[row[vote.voter]]
            ahead = float(theta[number[first]] - theta[number[second]])
            if score != 0.5 and abs(ahead) > 1e-9:
                agreed, n = found.get(vote.voter, (0, 0))
                found[vote.voter] = (agreed + ((score == 1) == (ahead > 0)), n + 1)
    return found


def _best(vote: Vote) -> frozenset[str] | None:
    if vote.ranks is None:
        return None
    return frozenset(model for model, rank in zip(vote.models, vote.ranks, strict=True) if rank == min(vote.ranks))
