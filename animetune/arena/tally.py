"""What has been shown and voted on so far, as sums: all that the choice of the next battle looks at."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from animetune.arena.gallery import PLAYERS, Gallery, Subject
from animetune.arena.information import fit_strengths, teaching
from animetune.arena.votes import Mode

REPEAT_GAP = 5
"""Battles between one and its repeat, at least."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A battle, by places: of its subject among all, of its models among all."""

    name: str
    mode: Mode
    subject: int
    """-1 for one that the arena has no more."""
    models: tuple[int, ...]
    """Left to right; -1 for one that the arena has no more."""
    repeat_of: str | None = None


class Field:
    """What can be shown, as arrays; n subjects, m models."""

    def __init__(self, gallery: Gallery):
        """Take stock of the pictures that are left."""
        self.version = gallery.version
        self.models = gallery.models
        self.model_place = {name: place for place, name in enumerate(self.models)}
        by_mode = {mode: gallery.subjects(mode) for mode in PLAYERS}
        ids: dict[Subject, dict[str, int]] = {}
        for subjects in by_mode.values():
            for subject, of_models in subjects.items():
                ids.setdefault(subject, {}).update(of_models)
        self.subjects = sorted(ids)
        self.ids = [ids[subject] for subject in self.subjects]
        self.place = {subject: place for place, subject in enumerate(self.subjects)}
        prompts = {prompt: place for place, prompt in enumerate(sorted({each.prompt for each in self.subjects}))}
        self.prompt_of = np.array([prompts[each.prompt] for each in self.subjects], dtype=np.int64)
        self.prompts = len(prompts)
        self.has = np.array([[model in each for model in self.models] for each in self.ids], dtype=bool)
        self.has = self.has.reshape(len(self.subjects), len(self.models))
        self.played_in: dict[Mode, np.ndarray] = {}
        """Mode -> (k,) places of the subjects it is played with; only modes that can be played."""
        self.pairs_in: dict[Mode, np.ndarray] = {}
        """Mode -> (m, m) bool: pairs of models that can meet in it."""
        for mode, subjects in by_mode.items():
            if subjects:
                places = np.array([self.place[subject] for subject in subjects])
                self.played_in[mode] = places
                together = self.has[places].T.astype(np.int64) @ self.has[places].astype(np.int64)
                self.pairs_in[mode] = (together > 0) & ~np.eye(len(self.models), dtype=bool)


@dataclass(slots=True)
class History:
    """What one voter has been shown."""

    seen: dict[frozenset[int], Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """Models -> subject -> how often."""
    battles: list[Shown] = field(default_factory=list)
    """In order, repeats among them."""
    repeatable: dict[str, tuple[int, Shown]] = field(default_factory=dict)
    """Name -> place in `battles` and battle, of those that the voter has voted on and that were not repeated."""
    repeated: set[str] = field(default_factory=set)
    """Names of those that were."""


class Tally:
    """Sums over battles and votes; n subjects, m models."""

    def __init__(self, field_: Field):
        """Begin with nothing shown."""
        count = len(field_.models)
        self.field = field_
        self.wins = np.zeros((count, count))
        """How often the row beat the column; a draw is half a win for both."""
        self.shown_pairs = np.zeros((count, count), dtype=np.int64)
        """Battles with both; of one model on the diagonal."""
        self.answered = np.zeros((count, count), dtype=np.int64)
        """Battles with both that have a vote, also one that all are bad; of one model on the diagonal."""
        self.bad = np.zeros((count, count), dtype=np.int64)
        """Those of them that found all bad."""
        self.shown_subjects = np.zeros(len(field_.subjects), dtype=np.int64)
        self.shown_prompts = np.zeros(field_.prompts, dtype=np.int64)
        self.voters: dict[str, History] = defaultdict(History)
        self.votes = 0
        self._open: dict[str, tuple[str, Shown, int]] = {}
        """Name -> voter, battle, its place among the voter's, for battles that may still be voted on."""
        self._fitted: tuple[int, np.ndarray] | None = None
        self._is_connected = count < 2

    def add_battle(self, voter: str, shown: Shown) -> None:
        """Count a battle as soon as it is made."""
        history = self.voters[voter]
        self._open[shown.name] = voter, shown, len(history.battles)
        history.battles.append(shown)
        if shown.repeat_of is not None:
            history.repeated.add(shown.repeat_of)
            history.repeatable.pop(shown.repeat_of, None)
        models = [model for model in shown.models if model >= 0]
        self.shown_pairs[np.ix_(models, models)] += 1
        if shown.subject >= 0:
            history.seen[frozenset(models)][shown.subject] += 1
            self.shown_subjects[shown.subject] += 1
            self.shown_prompts[self.field.prompt_of[shown.subject]] += 1

    def add_vote(self, name: str, ranks: Sequence[int] | None, *, counts: bool = True) -> None:
        """Count the vote on a battle that was added; one that does not count, or is on a repeat, teaches nothing
        and is not asked for again."""
        voter, shown, place = self._open.pop(name)
        if shown.repeat_of is not None or not counts:
            return
        history = self.voters[voter]
        if shown.subject >= 0 and min(shown.models) >= 0 and name not in history.repeated:
            history.repeatable[name] = place, shown
        self.votes += 1
        models = [model for model in shown.models if model >= 0]
        self.answered[np.ix_(models, models)] += 1
        if ranks is None:
            self.bad[np.ix_(models, models)] += 1
            return
        for slot, model in enumerate(shown.models):
            for other_slot, other in enumerate(shown.models[:slot]):
                if model >= 0 and other >= 0:
                    self._add_outcome(model, other, ranks[slot] - ranks[other_slot], shown.mode)

    def worth(self) -> np.ndarray:
        """(m, m): what a battle teaches, by the votes so far; looked at anew as they grow by a fiftieth.

        As `information.teaching`, for the share of votes that do not find all bad, from which nothing is learned.
        """
        if self._fitted is None or self.votes > self._fitted[0] * 1.02:
            share = (self.answered - self.bad + 1) / (self.answered + 1)
            self._fitted = self.votes, share * teaching(fit_strengths(self.wins))
        return self._fitted[1]

    def groups(self) -> np.ndarray:
        """(m,) int: which models have met, directly or through others, each group by its first model."""
        group = np.arange(len(self.wins))
        if self._is_connected:
            return np.zeros_like(group)
        for one, other in zip(*np.nonzero(self.answered), strict=True):
            group[group == max(group[one], group[other])] = min(group[one], group[other])
        self._is_connected = not group.any()
        return group

    def _add_outcome(self, model: int, other: int, behind: int, mode: Mode) -> None:
        if behind:
            self.wins[(other, model) if behind > 0 else (model, other)] += 1
        elif PLAYERS[mode] == 2:  # of four, those that are not chosen are not said to be equal
            self.wins[model, other] += 0.5
            self.wins[other, model] += 0.5
