"""What ranks a mode allows."""

from __future__ import annotations

from collections.abc import Sequence

from animetune.arena.battles import BadVote
from animetune.arena.votes import Mode


def check_ranks(mode: Mode, count: int, ranks: Sequence[int] | None) -> tuple[int, ...] | None:
    """The ranks of a vote on `count` pictures, as given; None (all are bad) is always allowed.

    Ranks are whole numbers from 0, the best, without gaps. A duel has no draw; of four, not all may be equal. BadVote
    otherwise.
    """
    if ranks is None:
        return None
    if not isinstance(ranks, list | tuple) or any(type(rank) is not int for rank in ranks):
        raise BadVote("ranks: should be a list of whole numbers, or null where all pictures are bad")
    if len(ranks) != count:
        raise BadVote(f"ranks: should be {count} numbers, one a picture, not {len(ranks)}")
    if set(ranks) != set(range(len(set(ranks)))):
        raise BadVote("ranks: should count from 0, the best, without gaps; equal numbers are a draw")
    if mode != "fixed" and len(set(ranks)) == 1:
        raise BadVote("ranks: this mode has no draw; choose one, or say that all are bad")
    return tuple(ranks)
