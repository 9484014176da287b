"""The noise of each training sample, and the noised latents. Everything in float32, whatever the model computes in.

All of it is drawn on the CPU (1 ms for the latents of a 1024x1024 picture), so that all devices and batch sizes see the
same; each sample's is a function of its key alone.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch

from animetune.diffusion.config import DiffusionConfig, MultiresNoise
from animetune.seeding import Purpose, SampleKeys


def training_noise(keys: SampleKeys, shape: tuple[int, int, int], cfg: DiffusionConfig) -> torch.Tensor:
    """The noise that `cfg` asks for, which is in the input and in the target: float32 (b, *shape) on the CPU.

    Multi-resolution noise has unit variance; the offset comes on top, so that its strength means the same with both.
    """
    noise = sample_noise(keys, shape)
    if cfg.multires:
        noise = multires_noise(noise, keys, cfg.multires)
    if cfg.noise_offset:
        noise += cfg.noise_offset * sample_offset(keys, shape[0])
    return noise


def sample_noise(keys: SampleKeys, shape: tuple[int, ...], purpose: Purpose = Purpose.NOISE) -> torch.Tensor:
    """Standard normal float32 (b, *shape) on the CPU."""
    noise = np.empty((len(keys.rows), *shape), dtype=np.float32)
    for one, rng in zip(noise, keys.rngs(purpose), strict=True):
        rng.standard_normal(dtype=np.float32, out=one)
    return torch.from_numpy(noise)


def sample_offset(keys: SampleKeys, channels: int) -> torch.Tensor:
    """Standard normal float32 (b, channels, 1, 1) on the CPU: one constant per channel, for `noise_offset`.

    `noise + noise_offset * sample_offset(...)` takes the place of the noise everywhere, in the target too (Guttenberg
    2023, "Diffusion with offset noise").
    """
    return sample_noise(keys, (channels, 1, 1), Purpose.OFFSET)


def multires_noise(white: torch.Tensor, keys: SampleKeys, cfg: MultiresNoise) -> torch.Tensor:
    """White noise (b, c, h, w) plus coarser noise enlarged to (h, w), of unit variance (Whitaker 2023,
    "Multi-Resolution Noise for Diffusion Model Training").

    Level i has sides shorter by r^i, r uniform on [2, 4), and strength discount^i, down to a side of one cell. Level 0
    is white too, as in the original, so that the discounts known from sd-scripts mean the same.

    The variance of the sum is known without looking at it: that of each level, times the mean square of what bilinear
    interpolation leaves of it. Dividing by its root gives each sample noise that is normal, with unit variance on
    average over the picture, and a function of its own key. The original divides by the measured deviation of the whole
    batch, which ties a sample to its neighbours; that of the sample itself would weaken just the samples whose coarse
    levels drew large values.
    """
    return torch.stack([_pyramid(one, rng, cfg) for one, rng in zip(white, keys.rngs(Purpose.MULTIRES), strict=True)])


def _pyramid(white: torch.Tensor, rng: np.random.Generator, cfg: MultiresNoise) -> torch.Tensor:
    channels, height, width = white.shape
    total, variance = math.sqrt(2) * white, 2.0  # the noise itself and level 0
    for level in range(1, cfg.levels):
        shrink = rng.uniform(2, 4) ** level
        rows, columns = max(1, int(height / shrink)), max(1, int(width / shrink))
        coarse = torch.from_numpy(rng.standard_normal((channels, rows, columns), dtype=np.float32))
        down, across = _enlarging(rows, height), _enlarging(columns, width)
        total += cfg.discount**level * (down @ coarse @ across.T)
        variance += cfg.discount ** (2 * level) * _kept(down) * _kept(across)
        if 1 in (rows, columns):
            break
    return total / math.sqrt(variance)


@functools.lru_cache(maxsize=4096)
def _enlarging(cells: int, size: int) -> torch.Tensor:
    """The matrix of bilinear interpolation along one side, float32 (size, cells); a row sums to 1."""
    return torch.nn.functional.interpolate(torch.eye(cells)[None], size=size, mode="linear")[0].T


def _kept(enlarging: torch.Tensor) -> float:
    """Variance of white noise after interpolation, on average over the side."""
    return float(enlarging.square().sum()) / len(enlarging)


def perturbed(noise: torch.Tensor, keys: SampleKeys, cfg: DiffusionConfig) -> torch.Tensor:
    """The noise as the input holds it: noise + gamma xi, while the target keeps `noise` (Ning et al. 2023, 2301.11706).
    OneTrainer has xi in the target too, which is nothing but larger noise."""
    if not cfg.input_perturbation:
        return noise
    added = []
    for rng in keys.rngs(Purpose.PERTURBATION):
        xi = torch.from_numpy(rng.standard_normal(tuple(noise.shape[1:]), dtype=np.float32))
        added.append(cfg.input_perturbation * (rng.random() if cfg.input_perturbation_random else 1) * xi)
    return noise + torch.stack(added)


def add_noise(x_0: torch.Tensor, noise: torch.Tensor, *, alpha_t: torch.Tensor, sigma_t: torch.Tensor) -> torch.Tensor:
    """x_t = alpha_t x_0 + sigma_t noise (Ho et al. 2020, equation 4; a flow: Esser et al. 2024, equation 13).

    float32 (b, c, h, w). alpha_t and sigma_t are float32 (b, 1, 1, 1), which makes the sum float32 even for latents of
    a shorter type.
    """
    return alpha_t * x_0 + sigma_t * noise
