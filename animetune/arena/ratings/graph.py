"""Whether the votes tie the models together (Ford 1957): who was ever compared with whom, and who ever beat whom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animetune.arena.ratings.events import Event


def groups_compared(events: Sequence[Event], models: int) -> list[list[int]]:
    """Models that a chain of comparisons connects; scores of different groups cannot be compared."""
    beaten = _beaten(events, models)
    return _classes(beaten | beaten.T)


def groups_beaten(events: Sequence[Event], models: int) -> list[list[int]]:
    """Models that a chain of wins connects both ways; between groups only the prior bounds the distance."""
    return _classes(_beaten(events, models))


def _beaten(events: Sequence[Event], models: int) -> np.ndarray:
    """Whether the row was at least once preferred to, or drew with, the column."""
    beaten = np.eye(models, dtype=bool)
    for event in events:
        if len(event.groups) == 1:
            first, second = event.groups[0]
            beaten[first, second] = beaten[second, first] = True
        for place, group in enumerate(event.groups):
            behind = [model for later in event.groups[place + 1 :] for model in later]
            beaten[np.ix_(group, behind)] = True
    return beaten


def _classes(reaches: np.ndarray) -> list[list[int]]:
    """Classes of what reaches each other both ways, by their least member."""
    for middle in range(len(reaches)):
        reaches = reaches | (reaches[:, middle, None] & reaches[None, middle])
    both = reaches & reaches.T
    return [np.flatnonzero(row).tolist() for number, row in enumerate(both) if not row[:number].any()]
