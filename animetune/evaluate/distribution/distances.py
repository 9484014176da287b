"""KID and CMMD of every model to the real pictures, and of the real pictures' own halves to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from animetune.evaluate import kernels
from animetune.evaluate.distribution.vectors import Drawn, Vectors
from animetune.evaluate.intervals import SEED
from animetune.evaluate.kernels import SCALE, Compared, Kernel, OfSubsets
from animetune.evaluate.measures import Difference, Estimate, Group, Measure
from animetune.evaluate.probes.shape import Table
from animetune.intervals import Interval
from animetune.seeding import Purpose, rng_for, text_counter

SPLITS = 200
"""Random halves of the real pictures."""


class Distance(NamedTuple):
    """One way to measure."""

    name: str
    title: str
    kernel: Kernel
    ready: Callable[[np.ndarray], np.ndarray]
    """Vectors as the kernel takes them, float64."""
    is_biased: bool
    """Whether pairs of a picture with itself count."""

    def of(self, compared: Compared) -> float:
        """Times 1,000, as it is shown."""
        return SCALE * (kernels.biased(compared) if self.is_biased else kernels.unbiased(compared))


KID = Distance("kid", f"KID × {SCALE:,}", kernels.polynomial, lambda x: np.asarray(x, dtype=np.float64), False)
CMMD = Distance("cmmd", "CMMD", kernels.gaussian, kernels.unit_rows, True)
DISTANCES = (KID, CMMD)


class Distances:
    """All models by one distance."""

    def __init__(self, distance: Distance, vectors: Vectors):
        self.distance = distance
        self._vectors = vectors
        self._real = distance.ready(vectors.real)
        self._yy = kernels.grouped_sums(distance.kernel, self._real, range(len(self._real)))
        self._of_model = {model: self._compared(x) for model, x in vectors.drawn.items()}

    def measure(self) -> Measure:
        """With intervals, and changes from the baseline over the pictures that both have."""
        estimates, changes = {}, {}
        for model, compared in self._of_model.items():
            ends = kernels.interval(compared, is_biased=self.distance.is_biased, purpose=self._purpose(model))
            estimates[model] = Estimate(self.distance.of(compared), compared.count_x, _scaled(ends))
            change = self._change(model)
            if change is not None:
                changes[model] = change
        return Measure(
            self.distance.name, self.distance.title, "mean", "lower", [Group("all pictures", estimates, changes)]
        )

    def across_prompts(self) -> dict[str, float | None]:
        """Model -> the unbiased distance without pairs of one prompt, times 1,000; None of a single prompt."""
        found: dict[str, float | None] = {}
        for model, compared in self._of_model.items():
            pairs = compared.xx.pairs.sum() - np.diag(compared.xx.pairs).sum()
            if not pairs:
                found[model] = None
                continue
            within = (compared.xx.sums.sum() - np.diag(compared.xx.sums).sum()) / pairs
            found[model] = SCALE * float(within + compared.yy.mean - 2 * compared.xy.mean)
        return found

    def floor(self) -> list[float]:
        """2.5, 50 and 97.5 % quantile of the distances of random halves of the real pictures; empty of few."""
        is_biased = self.distance.is_biased
        found = kernels.halves(self._yy, is_biased=is_biased, splits=SPLITS, purpose=self._purpose("halves"))
        return [SCALE * each for each in np.quantile(found, (0.025, 0.5, 0.975)).tolist()] if len(found) else []

    def _change(self, model: str) -> Difference | None:
        drawn, baseline = self._vectors.drawn, self._vectors.baseline
        if model == baseline or baseline not in drawn:
            return None
        both = set(drawn[baseline].keys) & set(drawn[model].keys)
        if len(both) < 2:
            return None
        first, second = (
            self._of_model[each] if len(both) == len(drawn[each].keys) else self._compared(drawn[each].only(both))
            for each in (baseline, model)
        )
        purpose = self._purpose(f"{baseline}/{model}")
        ends = kernels.change_interval(first, second, is_biased=self.distance.is_biased, purpose=purpose)
        return Difference(self.distance.of(second) - self.distance.of(first), len(both), _scaled(ends))

    def _compared(self, x: Drawn) -> Compared:
        rows, groups = self.distance.ready(x.vectors), kernels.groups_of(x.prompts)
        return Compared(
            kernels.grouped_sums(self.distance.kernel, rows, groups),
            kernels.grouped_sums(self.distance.kernel, rows, groups, self._real, range(len(self._real))),
            self._yy,
            len(rows),
            len(self._real),
        )

    def _purpose(self, what: str) -> str:
        return f"distribution/{self.distance.name}/{what}"


def subsets_of(vectors: Vectors, *, subsets: int, size: int) -> dict[str, OfSubsets]:
    """KID of every model as the literature gives it, not times 1,000."""
    found = {}
    for model, x in vectors.drawn.items():
        rng = rng_for(SEED, Purpose.BOOTSTRAP, text_counter(f"distribution/subsets/{model}"))
        found[model] = kernels.kid_of_subsets(x.vectors, vectors.real, subsets=subsets, size=size, rng=rng)
    return found


def tables(of: Mapping[str, Distances], subsets: Mapping[str, OfSubsets], vectors: Vectors) -> list[Table]:
    """What is given beside the measures."""
    across = {name: distances.across_prompts() for name, distances in of.items()}
    rows = {
        model: [
            f"{len(x.keys):,}",
            f"{SCALE * subsets[model].mean:.3f} ± {SCALE * subsets[model].deviation:.3f}",
            f"{subsets[model].subsets} × {subsets[model].size:,}",
            *(_text(across[name][model]) for name in of),
        ]
        for model, x in vectors.drawn.items()
    }
    columns = [
        "pictures",
        f"KID × {SCALE:,} of subsets",
        "subsets",
        *(f"{each.distance.title} across prompts" for each in of.values()),
    ]
    title = (
        f"Against {len(vectors.real):,} real pictures: mean ± deviation of random subsets, and unbiased without pairs "
        "of one prompt"
    )
    found = [Table(title, columns, rows)]
    floors = {each.distance.title: [_text(value) for value in each.floor()] for each in of.values()}
    if all(floors.values()):
        half = len(vectors.real) // 2
        title = f"Random halves of the real pictures against each other, {half:,} a side: what is no difference"
        found.append(Table(title, ("2.5 %", "median", "97.5 %"), floors))
    return found


def facts(of: Mapping[str, Distances]) -> dict[str, Any]:
    """For results.json."""
    return {
        name: {
            "across_prompts": {
                model: None if value is None else _rounded(value) for model, value in each.across_prompts().items()
            },
            "halves": [_rounded(value) for value in each.floor()] or None,
        }
        for name, each in of.items()
    }


def _scaled(ends: Interval | None) -> Interval | None:
    return None if ends is None else Interval(SCALE * ends.low, SCALE * ends.high)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
