"""Which timestep each training sample gets. Uniform over 0..999 for every sample, drawn alone or stratified together.

Stratified: the samples of a global batch fall into equal strata of [0, 1), one each. A sample's stratum follows from
its slot alone, so a micro-batch on any rank needs nothing but its own slots, and no permutation of the batch is made:

    stratum = (stride * slot + shift) mod G,    u = (stratum + U) / G,    t = floor(1000 u)

`stride` is coprime to the global batch G, so the strata of all slots are all different; `shift` is uniform over the
strata, so each sample's u is uniform on [0, 1) for any G. `stride` is near G / golden ratio, so slots that are
neighbours (a micro-batch, which is all of one size) are spread evenly over the timesteps too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from animetune.diffusion.schedule import NUM_TIMESTEPS
from animetune.seeding import Purpose, rng_for


def uniform_timesteps(rows: Sequence[int], copies: Sequence[int], *, seed: int, epoch: int) -> torch.Tensor:
    """Independent timesteps: int64 (b,) on the CPU, each a function of (seed, epoch, row, copy)."""
    return torch.tensor(
        [
            int(rng_for(seed, Purpose.TIMESTEP, epoch, row, copy).integers(NUM_TIMESTEPS))
            for row, copy in zip(rows, copies, strict=True)
        ]
    )


def stratified_timesteps(slots: Sequence[int], *, seed: int, epoch: int, step: int, global_batch: int) -> torch.Tensor:
    """Timesteps that cover 0..999 evenly over the `global_batch` samples of an optimizer step.

    Args:
        slots: the samples' places in the global batch, each in [0, global_batch).
        seed: seed of the run.
        epoch: epoch, from 0.
        step: optimizer step inside the epoch, from 0.
        global_batch: samples of this step on all ranks.

    Returns:
        int64 (b,) on the CPU.
    """
    if not all(0 <= slot < global_batch for slot in slots):
        raise ValueError(f"slots {list(slots)} are not all inside the global batch of {global_batch} samples")
    shift = int(rng_for(seed, Purpose.TIMESTEP, epoch, step).integers(global_batch))
    stride = _golden_stride(global_batch)
    strata = np.array([(stride * slot + shift) % global_batch for slot in slots])
    within = np.array([rng_for(seed, Purpose.TIMESTEP, epoch, step, slot).random() for slot in slots])
    u = (strata + within) / global_batch
    # u < 1, but the sum may round up to the end of the last stratum
    return torch.from_numpy(np.minimum((u * NUM_TIMESTEPS).astype(np.int64), NUM_TIMESTEPS - 1))


def _golden_stride(global_batch: int) -> int:
    """The number coprime to `global_batch` that is nearest to `global_batch` / golden ratio (of two, the larger)."""
    ideal = round(global_batch * (math.sqrt(5) - 1) / 2)
    return next(
        stride
        for distance in range(global_batch)
        for stride in (ideal + distance, ideal - distance)
        if math.gcd(stride, global_batch) == 1
    )
