"""The losses of single samples, collected on the device without waiting for it, and averaged by what the samples are.

Tally.add(micro-batch, loss), many times  --take, one wait for the device-->  Observed  --means_by-->  {name: Mean}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from animetune.diffusion.schedule import NUM_TIMESTEPS
from animetune.records import NO_CLASSES, Batch, Classes

BINS = 10
"""Equal intervals of timesteps that losses are told apart by: a loss depends on the noise more than on all else."""
COMPACT = 256
"""Micro-batches after which what was collected becomes one tensor."""


class Mean(NamedTuple):
    """A mean that can be merged with others."""

    samples: int = 0
    total: float = 0.0

    @property
    def value(self) -> float:
        """The mean; NaN of nothing."""
        return self.total / self.samples if self.samples else math.nan

    def __add__(self, other: Mean) -> Mean:  # type: ignore[override]
        return Mean(self.samples + other.samples, self.total + other.total)


@dataclass(frozen=True)
class Observed:
    """Samples, in the order in which they were trained; those whose loss was not finite are left out."""

    losses: np.ndarray
    """float64 (n,): mean squared error of each, before any weight."""
    timesteps: np.ndarray
    """int64 (n,)"""
    epochs: list[int]
    sizes: list[str]
    classes: list[Classes]

    @classmethod
    def joined(cls, parts: Sequence[Observed]) -> Observed:
        """The samples of all parts, one after another."""
        return cls(
            losses=np.concatenate([part.losses for part in parts]),
            timesteps=np.concatenate([part.timesteps for part in parts]),
            epochs=[epoch for part in parts for epoch in part.epochs],
            sizes=[size for part in parts for size in part.sizes],
            classes=[classes for part in parts for classes in part.classes],
        )

    def __iter__(self) -> Iterator[tuple[float, int, int, str, Classes]]:
        """(loss, bin of the timestep, epoch, size, classes) of every sample."""
        bins = np.clip(self.timesteps * BINS // NUM_TIMESTEPS, 0, BINS - 1)
        return zip(self.losses.tolist(), bins.tolist(), self.epochs, self.sizes, self.classes, strict=True)


class Tally:
    """Collects samples between two looks at them."""

    def __init__(self) -> None:
        self._found: list[torch.Tensor] = []
        self._samples: list[tuple[int, str, Classes]] = []

    def add(self, batch: Batch, losses: torch.Tensor, timesteps: torch.Tensor) -> None:
        """Take in a micro-batch: losses (b,) and timesteps (b,) stay on their device."""
        self._found.append(torch.stack([losses.detach().double(), timesteps.double()]))
        classes = batch.classes or [NO_CLASSES] * len(losses)
        self._samples += [(batch.epoch, batch.size.name, each) for each in classes]
        if len(self._found) > COMPACT:
            self._found = [torch.cat(self._found, dim=1)]

    def take(self) -> Observed:
        """What was collected since the last call. Waits for the device, once."""
        values = torch.cat(self._found, dim=1).cpu().numpy() if self._found else np.empty((2, 0))
        kept = np.flatnonzero(np.isfinite(values[0]))
        samples = [self._samples[place] for place in kept]
        self._found, self._samples = [], []
        return Observed(
            losses=values[0, kept],
            timesteps=values[1, kept].astype(np.int64),
            epochs=[epoch for epoch, _, _ in samples],
            sizes=[size for _, size, _ in samples],
            classes=[classes for _, _, classes in samples],
        )


def means_by(observed: Observed) -> dict[str, Mean]:
    """The mean loss of all (`loss`), and by timestep, size and content bucket (`loss_by_size/1024x1024`).

    Sums are rounded once, so the order of the samples changes nothing.
    """
    losses: dict[str, list[float]] = {}
    for loss, place, _, size, classes in observed:
        for name in ("loss", f"loss_by_timestep/{bin_name(place)}", f"loss_by_size/{size}"):
            losses.setdefault(name, []).append(loss)
        for bucket in classes.content_bucket:
            losses.setdefault(f"loss_by_content/{bucket}", []).append(loss)
    return {name: Mean(len(each), math.fsum(each)) for name, each in sorted(losses.items())}


def merged(parts: Iterable[Mapping[str, Mean]]) -> dict[str, Mean]:
    """The means of all parts together."""
    together: dict[str, Mean] = {}
    for part in parts:
        for name, mean in part.items():
            together[name] = together.get(name, Mean()) + mean
    return dict(sorted(together.items()))


def bin_name(place: int) -> str:
    """`000-099` for the first tenth of the timesteps."""
    width = NUM_TIMESTEPS // BINS
    return f"{place * width:03}-{(place + 1) * width - 1:03}"
