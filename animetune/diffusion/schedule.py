"""The variance-preserving noise schedule of Stable Diffusion, and its zero-terminal-SNR form.

    x_t = alpha_t x_0 + sigma_t noise,   alpha_t = sqrt(alpha_bar_t),   sigma_t = sqrt(1 - alpha_bar_t)

alpha_bar_t is DDPM's (Ho et al. 2020, equation 4), t counts from 0 to 999. alpha_t and sigma_t are those of Salimans &
Ho (2022), not DDPM's alpha_t = 1 - beta_t, which appears nowhere.

All tables are computed in float64 and each is rounded once to float32: 1 - alpha_bar_t taken in float32 is wrong by up
to 4e-5 of itself at t = 0, and taken in bfloat16 (diffusers, for bfloat16 latents) it is exactly 0.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

NUM_TIMESTEPS = 1000
"""Length T of the training schedule."""

BETA_START, BETA_END = 0.00085, 0.012
"""First and last beta of SDXL."""


def scaled_linear_alpha_bar() -> torch.Tensor:
    """alpha_bar_t of SDXL: float64 (1000,), falling. sqrt(beta_t) is linear in t ("scaled_linear" in diffusers)."""
    beta = torch.linspace(BETA_START**0.5, BETA_END**0.5, NUM_TIMESTEPS, dtype=torch.float64).square()
    return (1 - beta).cumprod(dim=0)


def rescale_zero_terminal_snr(alpha_bar: torch.Tensor) -> torch.Tensor:
    """Shift and stretch sqrt(alpha_bar) so that its last is 0 and its first stays.

    Lin et al. 2023, 2305.08891, algorithm 1; float64 (1000,) in and out.
    """
    root = alpha_bar.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    return ((root - last) * first / (first - last)).square()


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Tables over the timesteps: float32 (1000,) on the CPU."""

    alpha: torch.Tensor
    """Factor of the clean latents, sqrt(alpha_bar_t)."""
    sigma: torch.Tensor
    """Factor of the noise, sqrt(1 - alpha_bar_t)."""
    snr: torch.Tensor
    """Signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t); taken AFTER the zero-terminal rescale, which changes it by
    a factor of 0.83 at t = 500 and 0.003 at t = 990."""


@functools.cache
def noise_schedule(*, zero_terminal_snr: bool) -> NoiseSchedule:
    """The schedule of SDXL, or its zero-terminal-SNR form: alpha and snr are exactly 0 at the last timestep."""
    alpha_bar = scaled_linear_alpha_bar()
    if zero_terminal_snr:
        alpha_bar = rescale_zero_terminal_snr(alpha_bar)
    return NoiseSchedule(
        alpha=alpha_bar.sqrt().float(),
        sigma=(1 - alpha_bar).sqrt().float(),
        snr=(alpha_bar / (1 - alpha_bar)).float(),
    )
