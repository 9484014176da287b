"""Which battle a voter is shown next: where a vote teaches most, and fair to prompts, models and sides.

1. Now and then an earlier battle of the same voter, its order turned round, to see how consistent they are.
2. A mode, by its share.
3. Models: as long as votes do not connect all of them, two of different groups, least shown first; then by chance, in
   proportion to what a vote between them teaches (`information.teaching`). Part of the chances is spread evenly, so
   that no pair is ever left alone and a wrong first impression is found out.
4. A prompt that they have in common: none that the voter has just seen, nothing that they have seen more often than
   something else, then what has been shown least.
5. An order, by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from animetune.arena.battles import NothingToShow
from animetune.arena.gallery import PLAYERS
from animetune.arena.tally import REPEAT_GAP, Field, History, Tally
from animetune.arena.votes import Mode

EVEN = 0.1
"""Part of the chances of pairs that is spread evenly."""
RECENT = 3
"""Prompts that a voter is not shown again at once, where there are others."""


class Rules(NamedTuple):
    """What the configuration says of the choice."""

    shares: Mapping[Mode, float]
    repeats: float


class Choice(NamedTuple):
    """A battle, by places in the field."""

    mode: Mode
    subject: int
    models: tuple[int, ...]
    """Left to right."""
    repeat_of: str | None


def choose(tally: Tally, voter: str, rules: Rules, rng: np.random.Generator) -> Choice:
    """The next battle of a voter; NothingToShow where nothing is left to be shown."""
    field = tally.field
    history = tally.voters.get(voter) or History()
    if rng.random() < rules.repeats:
        again = _repeat(field, history, rng)
        if again is not None:
            return again
    modes = [mode for mode in field.played_in if rules.shares.get(mode, 0) > 0]
    if not modes:
        raise NothingToShow("no prompt is left that enough models have pictures of; look at the folders, and restart")
    shares = np.array([rules.shares[mode] for mode in modes])
    mode = modes[rng.choice(len(modes), p=shares / shares.sum())]
    models, subject = _models_and_subject(tally, history, mode, rng)
    return Choice(mode, subject, tuple(int(model) for model in rng.permutation(models)), None)


def _repeat(field: Field, history: History, rng: np.random.Generator) -> Choice | None:
    due = [
        shown
        for place, shown in history.repeatable.values()
        if place + REPEAT_GAP <= len(history.battles)
        and shown.mode in field.played_in
        and field.has[shown.subject, list(shown.models)].all()
    ]
    if not due:
        return None
    shown = due[rng.integers(len(due))]
    return Choice(shown.mode, shown.subject, shown.models[::-1], shown.name)


def _models_and_subject(tally: Tally, history: History, mode: Mode, rng: np.random.Generator) -> tuple[list[int], int]:
    """Where the voter has seen all that there is of some models, others are tried first."""
    chances = _chances(tally, mode)
    fewest, best = None, None
    while chances.any():
        models = _draw_models(tally.field, mode, chances, rng)
        subject, seen = _subject(tally, history, mode, models, rng)
        if seen == 0:
            return models, subject
        if fewest is None or seen < fewest:
            fewest, best = seen, (models, subject)
        chances[models[0], models[1]] = chances[models[1], models[0]] = 0
    assert best is not None
    return best


def _chances(tally: Tally, mode: Mode) -> np.ndarray:
    """(m, m), symmetric: of pairs to meet, not yet summing to one; 0 where they cannot."""
    possible = tally.field.pairs_in[mode]
    group = tally.groups()
    bridges = possible & (group[:, None] != group[None, :])
    if bridges.any():
        shown = tally.shown_pairs
        load = np.where(bridges, shown + shown.diagonal()[:, None] + shown.diagonal()[None, :], np.iinfo(np.int64).max)
        return (bridges & (load == load.min())).astype(np.float64)
    worth = np.where(possible, tally.worth(), 0.0)
    return (1 - EVEN) * worth / worth.sum() + EVEN * possible / possible.sum()


def _draw_models(field: Field, mode: Mode, chances: np.ndarray, rng: np.random.Generator) -> list[int]:
    """A pair by its chance; in `four`, others that have pictures of a prompt with it, by theirs with those drawn."""
    place = int(rng.choice(chances.size, p=(chances / chances.sum()).ravel()))
    models = list(divmod(place, len(chances)))
    has = field.has[field.played_in[mode]]
    while len(models) < PLAYERS[mode]:
        fitting = has[has[:, models].all(axis=1)]
        possible = fitting.any(axis=0)
        possible[models] = False
        weight = np.where(possible, chances[models].sum(axis=0) + 1e-12, 0.0)
        models.append(int(rng.choice(len(weight), p=weight / weight.sum())))
    return models


def _subject(
    tally: Tally, history: History, mode: Mode, models: Sequence[int], rng: np.random.Generator
) -> tuple[int, int]:
    """A subject that all of the models have, and how often the voter has seen them with it."""
    field = tally.field
    places = field.played_in[mode]
    places = places[field.has[places][:, list(models)].all(axis=1)]
    recent = [shown.subject for shown in history.battles[-RECENT:] if shown.subject >= 0]
    for count in range(len(recent)):  # the latest last: it is the one to be avoided longest
        fresh = places[~np.isin(field.prompt_of[places], field.prompt_of[recent[count:]])]
        if len(fresh):
            places = fresh
            break
    seen = np.zeros(len(field.subjects), dtype=np.int64)
    for subject, times in history.seen.get(frozenset(models), {}).items():
        seen[subject] = times
    fewest = int(seen[places].min())
    for load in (seen, tally.shown_prompts[field.prompt_of], tally.shown_subjects):
        places = _least(places, load)
    return int(places[rng.integers(len(places))]), fewest


def _least(places: np.ndarray, load: np.ndarray) -> np.ndarray:
    """Those of the places whose load is the smallest."""
    there = load[places]
    return places[there == there.min()]
