"""The vectors of a probe: those of every model's pictures, and those of the real ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from animetune.evaluate.probes.shape import Looked

SCORER = "features"


@dataclass(frozen=True)
class Drawn:
    """Pictures of a model, in the order of the probe's cases."""

    keys: Sequence[str]
    prompts: Sequence[str]
    """Which prompt each is of."""
    vectors: np.ndarray
    """float32 (n, d)."""

    def only(self, keys: Collection[str]) -> Drawn:
        """Those of some keys, in the same order."""
        places = [place for place, key in enumerate(self.keys) if key in keys]
        keys, prompts = ([of[place] for place in places] for of in (self.keys, self.prompts))
        return Drawn(keys, prompts, self.vectors[places])


@dataclass(frozen=True)
class Vectors:
    """All that there are."""

    drawn: Mapping[str, Drawn]
    """Of the models that have two or more."""
    real: np.ndarray
    """float32 (m, d), m 2 or more."""
    real_keys: Sequence[str]
    baseline: str

    @classmethod
    def of(cls, looked: Looked) -> Vectors | None:
        """None where there are fewer than two of real pictures, or of every model."""
        real = [each.key for each in looked.references if SCORER in looked.reference_answers.get(each.key, {})]
        drawn = {}
        for model, answers in looked.answers.items():
            cases = [case for case in looked.cases if SCORER in answers.get(case.key, {})]
            if len(cases) > 1:
                stacked = np.stack([answers[case.key][SCORER] for case in cases])
                drawn[model] = Drawn([case.key for case in cases], [case.item for case in cases], stacked)
        if len(real) < 2 or not drawn:
            return None
        stacked = np.stack([looked.reference_answers[key][SCORER] for key in real])
        return cls(drawn, stacked, real, looked.baseline)
