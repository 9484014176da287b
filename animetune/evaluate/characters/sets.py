"""Pictures against the references of every character: one table of differences, and what it says of each picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from animetune.evaluate.cases import Answer, Case
from animetune.evaluate.probes.shape import Looked

SCORER = "ccip"
Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Seen:
    """What CCIP says of a picture; differences from 0."""

    own: float
    """Mean over the references of its own character."""
    nearest: str
    """The character whose references are nearest, by that mean; the own one where another is as near."""
    nearest_difference: float
    nearer: float
    """Share of other characters' references that are nearer than `own`, 0 to 1; 0 where there are none."""
    most_like: str
    """Key of the own reference that is nearest."""
    is_nearest: bool
    """Whether `nearest` is its own character."""


@dataclass(frozen=True)
class CharacterSets:
    """The references of all characters."""

    names: Sequence[str]
    """Of the characters, in the order of the references."""
    keys: Sequence[str]
    """Of the references."""
    owners: np.ndarray
    """int64 (m,): place in `names` of each reference's character."""
    vectors: np.ndarray
    """float32 (m, d)."""
    metric: Metric

    @classmethod
    def of(cls, looked: Looked) -> CharacterSets | None:
        """None where CCIP looked at no reference."""
        have = [each for each in looked.references if SCORER in looked.reference_answers.get(each.key, {})]
        if not have or SCORER not in looked.metrics:
            return None
        names = list(dict.fromkeys(each.facts["character"] for each in have))
        return cls(
            names,
            [each.key for each in have],
            np.array([names.index(each.facts["character"]) for each in have]),
            np.stack([looked.reference_answers[each.key][SCORER] for each in have]),
            looked.metrics[SCORER],
        )

    @property
    def counts(self) -> dict[str, int]:
        """References by character."""
        return dict(zip(self.names, np.bincount(self.owners).tolist(), strict=True))

    def look(self, cases: Sequence[Case], answers: Mapping[str, Answer]) -> dict[str, Seen]:
        """What there is to say of every picture that has a vector, by key of its case."""
        have = [case for case in cases if SCORER in answers.get(case.key, {}) and case.facts["character"] in self.names]
        if not have:
            return {}
        differences = self.metric(np.stack([answers[case.key][SCORER] for case in have]), self.vectors)
        own = [self.names.index(case.facts["character"]) for case in have]
        return {
            case.key: self._seen(row.astype(np.float64), place, np.ones(len(row), dtype=bool))
            for case, row, place in zip(have, differences, own, strict=True)
        }

    def among_themselves(self) -> dict[str, list[Seen]]:
        """Every reference against all others, by character; none of characters with a single one."""
        found: dict[str, list[Seen]] = {}
        differences = self.metric(self.vectors, self.vectors)
        for place, owner in enumerate(self.owners.tolist()):
            others = np.arange(len(self.owners)) != place
            if (self.owners[others] == owner).any():
                found.setdefault(self.names[owner], []).append(
                    self._seen(differences[place].astype(np.float64), owner, others)
                )
        return found

    def _seen(self, differences: np.ndarray, owner: int, counted: np.ndarray) -> Seen:
        """Of a row of differences to all references, those that are `counted`."""
        is_own = (self.owners == owner) & counted
        own = float(differences[is_own].mean())
        owners = self.owners[counted]
        totals = np.bincount(owners, weights=differences[counted], minlength=len(self.names))
        counts = np.bincount(owners, minlength=len(self.names))
        means = np.where(counts > 0, totals / np.maximum(counts, 1), np.inf)
        means[owner] = own
        nearest = int(means.argmin())
        if own <= means[nearest]:
            nearest = owner
        of_others = differences[counted & (self.owners != owner)]
        return Seen(
            own,
            self.names[nearest],
            float(means[nearest]),
            float((of_others < own).mean()) if len(of_others) else 0.0,
            self.keys[int(np.where(is_own, differences, np.inf).argmin())],
            nearest == owner,
        )
