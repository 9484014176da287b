"""Tensors that are read, or computed, when their turn comes: what lets a file of seven gigabytes pass through a small
memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from animetune.tensorfile import Place


@dataclass(frozen=True)
class LazyTensor:
    """A tensor of which shape and dtype are known; `load` gives it, on the CPU, anew at each call."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[], Tensor]

    @property
    def numel(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


State = Mapping[str, LazyTensor]
"""A network's tensors under our names, without the component's prefix."""


def at(place: Place) -> LazyTensor:
    """A tensor that lies in a file."""
    return LazyTensor(place.shape, place.dtype, place.read)


def held(tensor: Tensor) -> LazyTensor:
    """A tensor that is at hand, on any device."""
    return LazyTensor(tuple(tensor.shape), tensor.dtype, lambda: tensor.detach().cpu())


def mixed_types(state: State) -> str | None:
    """`3 float32, 1677 float16` of a network that is not all of one type; None of one that is."""
    counts = Counter(str(lazy.dtype).removeprefix("torch.") for lazy in state.values())
    return ", ".join(f"{count} {dtype}" for dtype, count in sorted(counts.items())) if len(counts) > 1 else None
