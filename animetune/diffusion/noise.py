"""The noise of each training sample, and the noised latents. Everything in float32, whatever the model computes in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from animetune.seeding import Purpose, rng_for


def sample_noise(
    rows: Sequence[int], copies: Sequence[int], shape: tuple[int, ...], *, seed: int, epoch: int
) -> torch.Tensor:
    """Standard normal float32 (b, *shape) on the CPU; each sample's is a function of (seed, epoch, row, copy) alone.

    Drawn on the CPU (1 ms for the latents of a 1024x1024 picture), so that all devices and batch sizes see the same.
    """
    noise = np.empty((len(rows), *shape), dtype=np.float32)
    for one, row, copy in zip(noise, rows, copies, strict=True):
        rng_for(seed, Purpose.NOISE, epoch, row, copy).standard_normal(dtype=np.float32, out=one)
    return torch.from_numpy(noise)


def sample_offset(rows: Sequence[int], copies: Sequence[int], channels: int, *, seed: int, epoch: int) -> torch.Tensor:
    """Standard normal float32 (b, channels, 1, 1) on the CPU: one constant per channel, for `noise_offset`.

    `noise + noise_offset * sample_offset(...)` takes the place of the noise everywhere, in the target too (Guttenberg
    2023, "Diffusion with offset noise").
    """
    offsets = [
        rng_for(seed, Purpose.OFFSET, epoch, row, copy).standard_normal(channels, dtype=np.float32)
        for row, copy in zip(rows, copies, strict=True)
    ]
    return torch.from_numpy(np.stack(offsets))[:, :, None, None]


def add_noise(x_0: torch.Tensor, noise: torch.Tensor, *, alpha_t: torch.Tensor, sigma_t: torch.Tensor) -> torch.Tensor:
    """x_t = alpha_t x_0 + sigma_t noise (Ho et al. 2020, equation 4), float32 (b, c, h, w).

    alpha_t and sigma_t are float32 (b, 1, 1, 1), which makes the sum float32 even for latents of a shorter type.
    """
    return alpha_t * x_0 + sigma_t * noise
