"""Which classes are learned and which not yet: losses by class and epoch, for `loss-by-class.csv`.

The samples of a class, few as they are, have other timesteps than those of another, and the timestep decides a loss
more than the picture does. So a class's loss is also given relative to what all samples of the epoch had at the same
timesteps: 1 is the average, and a class that is harder, or not yet fitted, is above it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from animetune.train.tally import BINS, Observed


class _Key(NamedTuple):
    epoch: int
    kind: str
    name: str


ClassSums = dict[_Key, np.ndarray]
"""float64 (2, BINS) each: samples and sum of their losses, by timestep."""


class ClassLosses:
    """Sums of the losses of every class in every epoch; `kinds` are fields of `records.Classes`."""

    COLUMNS = ("kind", "class", "epoch", "samples", "loss", "relative_loss")

    def __init__(self, kinds: Sequence[str]):
        self.kinds = tuple(kinds)
        self._sums: ClassSums = {}

    def add(self, observed: Observed) -> None:
        """Count samples in."""
        for loss, place, epoch, _, classes in observed:
            names = [("all", "all"), *((kind, name) for kind in self.kinds for name in getattr(classes, kind))]
            for kind, name in names:
                self._sums_of(_Key(epoch, kind, name))[:, place] += 1, loss

    def take(self) -> ClassSums:
        """What was counted since the last call."""
        taken, self._sums = self._sums, {}
        return taken

    def merge(self, sums: ClassSums) -> None:
        """Count in what another rank has counted."""
        for key, each in sums.items():
            self._sums_of(key)[...] += each

    def table(self) -> str:
        """The CSV: a line for each class and epoch."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.COLUMNS)
        for key in sorted(self._sums, key=lambda key: (key.kind, key.name, key.epoch)):
            if key.kind in self.kinds:
                counts, totals = self._sums[key]
                everything = self._sums[_Key(key.epoch, "all", "all")]
                expected = counts @ (everything[1] / np.maximum(everything[0], 1))
                mean = totals.sum() / counts.sum()
                relative = totals.sum() / expected if expected else 1.0
                writer.writerow([key.kind, key.name, key.epoch, int(counts.sum()), f"{mean:.6g}", f"{relative:.4f}"])
        return text.getvalue()

    def state_dict(self) -> list[str]:
        """All sums, for the checkpoint: a line of JSON for each class and epoch."""
        return [json.dumps([*key, *self._sums[key].tolist()], ensure_ascii=False) for key in sorted(self._sums)]

    def load_state_dict(self, state: Iterable[str]) -> None:
        """Go on from a checkpoint's."""
        for line in state:
            epoch, kind, name, *sums = json.loads(line)
            self._sums[_Key(epoch, kind, name)] = np.array(sums, np.float64)

    def _sums_of(self, key: _Key) -> np.ndarray:
        return self._sums.setdefault(key, np.zeros((2, BINS)))
