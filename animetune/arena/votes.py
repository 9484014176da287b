"""A vote: what was shown to whom, and what they preferred. Votes are only added; ratings are a function of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["fixed", "duel", "four"]
"""Two pictures of a fixed prompt with draws allowed; two of a free prompt, one must be chosen; four at once."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer of one voter to one battle."""

    battle: str
    """Name of the battle; not its token, which is worth a vote."""
    mode: Mode
    voter: str
    prompt: str
    seed: int
    models: tuple[str, ...]
    """As shown, left to right."""
    ranks: tuple[int, ...] | None
    """As long as `models`; 0 is best, equal ranks are a draw. None: all are bad, no preference."""
    milliseconds: int
    at: str
    """When the vote came in: ISO 8601, UTC."""
    repeat_of: str | None
    """Name of the battle that this one showed again, its order turned round."""
    flags: tuple[str, ...]
    """What is odd about it, such as that it came too fast."""
