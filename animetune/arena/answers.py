"""What may be answered to a battle, and what is odd about an answer."""

from __future__ import annotations

from collections.abc import Sequence

from animetune.arena.battles import BadVote
from animetune.arena.votes import Mode

LONGEST_MS = 24 * 3600 * 1000
"""What a vote can say that it took."""
CLOCK_SLACK_MS = 5000
"""By how much a voter's clock may differ from ours."""


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


def flags_of(milliseconds: int, passed_ms: float, fastest_ms: int) -> tuple[str, ...]:
    """What is odd about the time that a vote says it took, `passed_ms` after its battle was made.

    `fast`: less than `fastest_ms`, by either clock. `clock`: longer than the battle has been there. BadVote for what is
    no time.
    """
    if type(milliseconds) is not int or not 0 <= milliseconds <= LONGEST_MS:
        raise BadVote(f"ms: should be a whole number of milliseconds from 0 to {LONGEST_MS}")
    odd = {
        "fast": min(milliseconds, passed_ms) < fastest_ms,
        "clock": milliseconds > passed_ms + CLOCK_SLACK_MS,
    }
    return tuple(flag for flag, is_odd in odd.items() if is_odd)
