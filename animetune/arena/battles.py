"""A battle, what becomes of it, and the reasons why a vote is not counted."""

from __future__ import annotations

from dataclasses import dataclass

from animetune.arena.votes import Mode, Vote
from animetune.errors import AnimetuneError, DataError, SetupError
from animetune.records import Size


@dataclass(frozen=True, slots=True)
class Battle:
    """Pictures of one prompt, seed and size, shown side by side to one voter."""

    token: str
    """Worth one vote of the voter; secret, random."""
    name: str
    """What votes call it."""
    mode: Mode
    voter: str
    prompt: str
    seed: int
    size: Size
    """Of the pictures, in pixels."""
    pictures: tuple[int, ...]
    """Ids in the gallery, left to right."""
    models: tuple[str, ...]
    """Of the pictures; not for the voter's eyes before the vote."""
    repeat_of: str | None
    """Name of the voter's earlier battle that this one shows again, its order turned round."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A vote that is kept."""

    number: int
    """Counted from 1, over all voters."""
    vote: Vote
    """With the names of the models, which may be told now."""


class Refused(AnimetuneError):
    """A vote that does not count; nothing was written."""


class UnknownBattle(Refused):
    """There is no battle of this token."""


class WrongVoter(Refused):
    """The battle was shown to somebody else."""


class AlreadyVoted(Refused):
    """The battle has its vote."""


class Stale(Refused):
    """The battle cannot be voted on any more: too old, or one of its pictures is gone, or not what was shown."""


class BadVote(Refused):
    """The ranks, or the time, are none that this battle could have."""


class DiskFull(SetupError):
    """Nothing was written, for want of room; the same vote may be sent again."""


class NothingToShow(DataError):
    """No prompt is left that two models have pictures of."""
