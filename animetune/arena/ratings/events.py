"""Votes as what the likelihood sees: who was preferred to whom, and how often.

A vote for the second of four and one that orders all four are partial orders, as is a choice between two. Equal ranks
mean a draw where the voter was offered one (two pictures, mode `fixed`). Elsewhere they say that the voter left the
order open, and nothing about how alike the pictures are: who picks the best of four does not call the others equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from animetune.arena.votes import Vote
from animetune.errors import DataError

DRAWS_OFFERED = ("fixed",)
"""Modes in which equal ranks of two pictures are a draw."""


class Event(NamedTuple):
    """What may happen in a battle, whatever the order on the screen."""

    offers_draw: bool
    groups: tuple[tuple[int, ...], ...]
    """Models by number, best first; those of one group are equal. Never only one group, unless it is a draw."""


class Comparison(NamedTuple):
    """Two models of one vote."""

    first: str
    second: str
    score: float
    """1: the first was preferred, 0: the second, 0.5: a draw."""


class Tally(NamedTuple):
    """How often each event was, voter by voter."""

    models: tuple[str, ...]
    events: tuple[Event, ...]
    voters: tuple[str, ...]
    counts: np.ndarray
    """float64 (voters, events)."""
    duels: np.ndarray
    """int (2 x pairs): the events of either winning a duel, of all pairs that were ever compared."""

    @property
    def seen(self) -> tuple[Event, ...]:
        """The events that there are votes of."""
        return tuple(event for event, count in zip(self.events, self.counts.sum(axis=0), strict=True) if count)


def check(vote: Vote) -> None:
    """Raise DataError for a vote that cannot be: too few models, one twice, or ranks that do not fit them."""
    if len(vote.models) < 2 or len(set(vote.models)) < len(vote.models):
        raise DataError(f"vote of battle {vote.battle}: models {list(vote.models)}: needs two or more, each once")
    if vote.ranks is not None and len(vote.ranks) != len(vote.models):
        raise DataError(f"vote of battle {vote.battle}: {len(vote.ranks)} ranks for {len(vote.models)} models")


def offers_draw(vote: Vote) -> bool:
    """Whether equal ranks of this vote are a draw."""
    return vote.mode in DRAWS_OFFERED and len(vote.models) == 2


def event_of(vote: Vote, numbers: dict[str, int]) -> Event | None:
    """The event of a vote; None if it prefers nothing to anything (all bad, or an order left open)."""
    if vote.ranks is None:
        return None
    by_rank: dict[int, list[int]] = {}
    for model, rank in zip(vote.models, vote.ranks, strict=True):
        by_rank.setdefault(rank, []).append(numbers[model])
    groups = tuple(tuple(sorted(by_rank[rank])) for rank in sorted(by_rank))
    is_drawable = offers_draw(vote)
    return None if len(groups) == 1 and not is_drawable else Event(is_drawable, groups)


def comparisons(vote: Vote) -> Iterator[Comparison]:
    """Every two models that a vote compares, in the order shown."""
    if vote.ranks is None:
        return
    for left in range(len(vote.models)):
        for right in range(left + 1, len(vote.models)):
            ahead, behind = vote.ranks[left], vote.ranks[right]
            if ahead != behind:
                yield Comparison(vote.models[left], vote.models[right], float(ahead < behind))
            elif offers_draw(vote):
                yield Comparison(vote.models[left], vote.models[right], 0.5)


def tally(votes: Iterable[Vote], models: Sequence[str]) -> Tally:
    """Count events; the order of the votes and of what each showed does not matter.

    A duel either way of every two models that some vote compares is among the events, also if it never was.
    """
    numbers = {model: number for number, model in enumerate(models)}
    found: dict[tuple[str, Event], int] = {}
    for vote in votes:
        event = event_of(vote, numbers)
        if event is not None:
            key = (vote.voter, event)
            found[key] = found.get(key, 0) + 1
    voters = tuple(sorted({voter for voter, _ in found}))
    seen = {event for _, event in found}
    duels = {duel for event in seen for duel in _duels(event)}
    events = tuple(sorted(seen | duels))
    counts = np.zeros((len(voters), len(events)))
    row = {voter: place for place, voter in enumerate(voters)}
    column = {event: place for place, event in enumerate(events)}
    for (voter, event), count in found.items():
        counts[row[voter], column[event]] = count
    return Tally(tuple(models), events, voters, counts, np.array([column[duel] for duel in sorted(duels)], dtype=int))


def _duels(event: Event) -> Iterator[Event]:
    """Both ends of a duel of every two models that the event compares."""
    if len(event.groups) == 1:
        pairs: Iterable[tuple[int, int]] = [(event.groups[0][0], event.groups[0][1])]
    else:
        pairs = [
            (first, second)
            for place, group in enumerate(event.groups)
            for first in group
            for later in event.groups[place + 1 :]
            for second in later
        ]
    for first, second in pairs:
        yield Event(False, ((first,), (second,)))
        yield Event(False, ((second,), (first,)))
