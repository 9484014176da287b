"""Which time each training sample gets: a number u for each sample, laid on the density that the configuration names.

    u, uniform on [0, 1), alone or stratified  --quantile-->  time in thousandths, inside the range

Stratified: the samples of a global batch fall into equal strata of [0, 1), one each. A sample's stratum follows from
its slot alone, so a micro-batch on any rank needs nothing but its own slots, and no permutation of the batch is made:

    stratum = (stride * slot + shift) mod G,    u = (stratum + U) / G

`stride` is coprime to the global batch G, so the strata of all slots are all different; `shift` is uniform over the
strata, so each sample's u is uniform on [0, 1) for any G. `stride` is near G / golden ratio, so slots that are
neighbours (a micro-batch, which is all of one size) are spread evenly over the timesteps too.

A density and a range act on u through the quantile function (the inverse of the cumulative distribution F), so they
keep the strata: a range is the part between F(first) and F(last), and a flow's shift changes times after the density.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from animetune.diffusion.config import BinTimesteps, LogitNormalTimesteps, Timesteps
from animetune.diffusion.schedule import NUM_TIMESTEPS, shift_time
from animetune.seeding import Purpose, SampleKeys, rng_for


def independent_draws(keys: SampleKeys) -> torch.Tensor:
    """u of samples drawn alone: uniform on [0, 1), float64 (b,) on the CPU."""
    return torch.tensor([rng.random() for rng in keys.rngs(Purpose.TIMESTEP)], dtype=torch.float64)


def stratified_draws(slots: Sequence[int], *, seed: int, epoch: int, step: int, global_batch: int) -> torch.Tensor:
    """u of samples that together cover [0, 1) evenly, over the `global_batch` samples of an optimizer step.

    Args:
        slots: the samples' places in the global batch, each in [0, global_batch).
        seed: seed of the run.
        epoch: epoch, from 0.
        step: optimizer step inside the epoch, from 0.
        global_batch: samples of this step on all ranks.

    Returns:
        float64 (b,) on the CPU, each uniform on [0, 1).
    """
    if not all(0 <= slot < global_batch for slot in slots):
        raise ValueError(f"slots {list(slots)} are not all inside the global batch of {global_batch} samples")
    shift = int(rng_for(seed, Purpose.TIMESTEP, epoch, step).integers(global_batch))
    stride = _golden_stride(global_batch)
    strata = np.array([(stride * slot + shift) % global_batch for slot in slots])
    within = np.array([rng_for(seed, Purpose.TIMESTEP, epoch, step, slot).random() for slot in slots])
    return torch.from_numpy((strata + within) / global_batch)


def times_at(u: torch.Tensor, cfg: Timesteps, *, shift: float = 1.0) -> torch.Tensor:
    """The times below which a share `u` of all draws lies.

    Args:
        u: float64 (b,) in [0, 1].
        cfg: density and range.
        shift: that of a flow (`schedule.shift_time`).

    Returns:
        float64 (b,) in thousandths: `range[0] <= time < range[1]`, growing with u.
    """
    first, last = cfg.range
    bounds = torch.tensor([first, last], dtype=torch.float64) / NUM_TIMESTEPS
    t = shift_time(_quantile(u, shift_time(bounds, 1 / shift), cfg), shift)
    # rounding may reach over the ends of the range
    return (NUM_TIMESTEPS * t).clamp(first, math.nextafter(last, 0))


def _quantile(u: torch.Tensor, bounds: torch.Tensor, cfg: Timesteps) -> torch.Tensor:
    """The t below which a share `u` of those draws lies that fall between the two `bounds`; all float64 in [0, 1]."""
    if isinstance(cfg, LogitNormalTimesteps):  # Esser et al. 2024, equation 19: z is standard normal
        z = (bounds.logit() - cfg.mean) / cfg.std
        side = -1 if z[0] > 0 else 1  # a range in the upper tail is read from above, where F is not rounded to 1
        below, until = torch.erfc(-side * z / math.sqrt(2)) / 2
        return (cfg.mean + cfg.std * side * torch.special.ndtri(below + (until - below) * u)).sigmoid()
    if isinstance(cfg, BinTimesteps):
        edges, cumulated = _bins(cfg)
        below, until = np.interp(bounds.numpy(), edges, cumulated)
        # 1 would lie in the last bin, whose weight may be 0
        share = (below + (until - below) * u.numpy()).clip(0, math.nextafter(1, 0))
        bins = np.searchsorted(cumulated, share, side="right") - 1
        within = (share - cumulated[bins]) / np.diff(cumulated)[bins]
        return torch.from_numpy(edges[bins] + within / len(cfg.weights))
    return bounds[0] + (bounds[1] - bounds[0]) * u


def _bins(cfg: BinTimesteps) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the bins, and the share of draws below each: float64 (bins + 1,) both."""
    cumulated = np.cumsum([0.0, *cfg.weights])
    return np.linspace(0, 1, len(cumulated)), cumulated / cumulated[-1]


def _golden_stride(global_batch: int) -> int:
    """The number coprime to `global_batch` that is nearest to `global_batch` / golden ratio (of two, the larger)."""
    ideal = round(global_batch * (math.sqrt(5) - 1) / 2)
    return next(
        stride
        for distance in range(global_batch)
        for stride in (ideal + distance, ideal - distance)
        if math.gcd(stride, global_batch) == 1
    )
