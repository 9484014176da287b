"""The real picture that is most like each drawn one: what is far from all of them, and what is a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from animetune.evaluate.config import REFERENCE
from animetune.evaluate.distribution.vectors import Vectors
from animetune.evaluate.kernels import unit_rows
from animetune.evaluate.probes.shape import Histogram, Table

BINS = 24
_ROWS = 1024
QUANTILES = {"lowest": 0.0, "low": 0.05, "median": 0.5, "high": 0.95, "highest": 1.0}


@dataclass(frozen=True)
class Nearest:
    """By the cosine of their vectors, which is 1 of a copy."""

    of_pictures: Mapping[str, Mapping[str, tuple[str, float]]]
    """Model -> key of a case -> (key of the real picture, cosine)."""
    of_real: Sequence[float]
    """Cosine of each real picture to the nearest other one."""

    @classmethod
    def of(cls, vectors: Vectors) -> Nearest:
        """Of all models."""
        found = {}
        for model, x in vectors.drawn.items():
            places, cosines = nearest(x.vectors, vectors.real)
            of_keys = [vectors.real_keys[place] for place in places.tolist()]
            found[model] = dict(zip(x.keys, zip(of_keys, cosines.tolist(), strict=True), strict=True))
        return cls(found, nearest(vectors.real)[1].tolist())

    @property
    def cosines(self) -> dict[str, Sequence[float]]:
        """Of each model, and of the real pictures among themselves."""
        found: dict[str, Sequence[float]] = {
            model: [cosine for _, cosine in of.values()] for model, of in self.of_pictures.items()
        }
        return {**found, REFERENCE: self.of_real}

    def histogram(self) -> Histogram:
        """In bins of one width."""
        low = min(min(cosines) for cosines in self.cosines.values())
        edges = np.linspace(min(np.floor(20 * low) / 20, 0.95), 1, BINS + 1)
        return Histogram(
            "Cosine to the nearest real picture; 1 is a copy",
            [round(float(edge), 6) for edge in edges],
            {
                name: np.histogram(np.clip(cosines, edges[0], 1), edges)[0].tolist()
                for name, cosines in self.cosines.items()
            },
        )

    def table(self) -> Table:
        """Quantiles by model."""
        rows = {name: [f"{value:.3f}" for value in of.values()] for name, of in self.facts().items()}
        return Table("Cosine to the nearest real picture", ("lowest", "5 %", "median", "95 %", "highest"), rows)

    def facts(self) -> dict[str, Any]:
        """Name -> quantile -> value, six digits."""
        return {
            name: {
                quantile: float(f"{value:.6g}")
                for quantile, value in zip(
                    QUANTILES, np.quantile(cosines, list(QUANTILES.values())).tolist(), strict=True
                )
            }
            for name, cosines in self.cosines.items()
        }


def nearest(x: np.ndarray, y: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(place int64 (n,), cosine float64 (n,)) of the row of `y` most like each of `x`; or of `x`, but for itself."""
    rows, others = unit_rows(x), unit_rows(x if y is None else y)
    places, cosines = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows))
    for start in range(0, len(rows), _ROWS):
        values = rows[start : start + _ROWS] @ others.T
        if y is None:
            values[np.arange(len(values)), np.arange(start, start + len(values))] = -np.inf
        places[start : start + _ROWS] = values.argmax(axis=1)
        cosines[start : start + _ROWS] = values.max(axis=1)
    return places, cosines
