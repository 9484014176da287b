"""Counter-based randomness: every random draw is a pure function of a key, so no generator state is ever saved.

A key is `(seed, purpose, *counters)`, e.g. `(seed, NOISE, epoch, row, copy)`. Its 128-bit hash keys a Philox generator
(Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). Equal keys give equal draws on every machine, rank,
worker and device; different keys are independent streams. That is why a killed run resumes exactly, and why the number
of workers or GPUs changes nothing.

All draws happen on the CPU. `torch.Generator` is not used: its CPU engine keeps only 32 bits of the seed, so a few
million samples would share streams.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xxhash


class Purpose(enum.IntEnum):
    """What a draw is for. Values are part of the key: never renumber, only append."""

    REPEATS = 1
    PLAN = 2
    CAPTION = 3
    CROP = 4
    FLIP = 5
    VAE = 6
    NOISE = 7
    TIMESTEP = 8
    OFFSET = 9
    DROPOUT = 10
    SPLIT = 11
    SAMPLE = 12
    INIT = 13
    DRAW = 14
    CONTACT_SHEET = 15
    MULTIRES = 16
    PERTURBATION = 17
    CONDITIONING = 18
    ROUNDING = 19
    BOOTSTRAP = 20
    SKETCH = 21
    PAIRING = 22


def key_for(seed: int, purpose: Purpose, *counters: int) -> int:
    """The 128-bit Philox key of `(seed, purpose, *counters)`; counters are signed 64-bit integers."""
    packed = struct.pack(f"<{2 + len(counters)}q", seed, int(purpose), *counters)
    return xxhash.xxh3_128_intdigest(packed)


def rng_for(seed: int, purpose: Purpose, *counters: int) -> np.random.Generator:
    """A fresh NumPy generator for the key; drawing from it changes nothing else in the process."""
    return np.random.Generator(np.random.Philox(key=key_for(seed, purpose, *counters)))


def text_counter(text: str) -> int:
    """A signed 63-bit counter for a string (a sample key, a step name), for use in a key."""
    return xxhash.xxh3_64_intdigest(text.encode()) >> 1


class SampleKeys(NamedTuple):
    """The samples of a micro-batch as keys. What is drawn for one of them depends neither on the others nor on where
    in a batch it is."""

    seed: int
    epoch: int
    rows: Sequence[int]
    copies: Sequence[int]

    def rngs(self, purpose: Purpose) -> Iterator[np.random.Generator]:
        """The generator of each sample for a purpose: that of (seed, purpose, epoch, row, copy)."""
        for row, copy in zip(self.rows, self.copies, strict=True):
            yield rng_for(self.seed, purpose, self.epoch, row, copy)
