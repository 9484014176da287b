"""From data to noise: the variance-preserving schedule of Stable Diffusion, its zero-terminal-SNR form, and the
straight line of a rectified flow. All are

    x_t = alpha_t x_0 + sigma_t noise

For Stable Diffusion alpha_t = sqrt(alpha_bar_t) and sigma_t = sqrt(1 - alpha_bar_t), with DDPM's alpha_bar_t (Ho et al.
2020, equation 4) and t from 0 to 999. alpha_t and sigma_t are those of Salimans & Ho (2022), not DDPM's alpha_t =
1 - beta_t, which appears nowhere. For a flow alpha_t = 1 - t and sigma_t = t, with t from 0 to 1 (Esser et al. 2024,
2403.03206, equation 13).

A UNet is told the time as a number in thousandths. For a flow that is 1000 t, not rounded: SDXL's sinusoids take any
number, and ComfyUI (`ModelSamplingSD3`, the node that SDXL flows are drawn with) and diffusers
(`FlowMatchEulerDiscreteScheduler`) give just that, from 1000 down. Trainers of SDXL flows differ: Aozora gives 1000 t,
bluvoll's sd-scripts rounds it down unless told otherwise.

All tables are computed in float64 and each is rounded once to float32: 1 - alpha_bar_t taken in float32 is wrong by up
to 4e-5 of itself at t = 0, and taken in bfloat16 (diffusers, for bfloat16 latents) it is exactly 0.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import torch

from animetune.diffusion.config import DiffusionConfig

NUM_TIMESTEPS = 1000
"""Length T of the training schedule."""

BETA_START, BETA_END = 0.00085, 0.012
"""First and last beta of SDXL."""

LEAST_FLOW_TIME = 1e-6
"""Smallest t of a flow: at t = 0 there is no noise to learn from, and the signal-to-noise ratio is infinite."""


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


class NoiseLevels(NamedTuple):
    """How far each sample of a batch is on its way to noise."""

    timesteps: torch.Tensor
    """What the model is told: int64 (b,) in 0..999, for a flow float32 (b,), 1000 t."""
    alpha: torch.Tensor
    """Factor of the clean latents, float32 (b, 1, 1, 1)."""
    sigma: torch.Tensor
    """Factor of the noise, float32 (b, 1, 1, 1)."""
    snr: torch.Tensor
    """Signal-to-noise ratio alpha^2 / sigma^2, float32 (b,)."""

    def to(self, device: torch.device | str) -> NoiseLevels:
        """The same on another device."""
        return NoiseLevels(*(tensor.to(device) for tensor in self))


def noise_levels(times: torch.Tensor, cfg: DiffusionConfig) -> NoiseLevels:
    """The levels at `times`: (b,) of any type, in thousandths from 0 to 1000, rounded down unless `cfg` is a flow."""
    if cfg.prediction == "flow":
        t = (times.double() / NUM_TIMESTEPS).clamp(LEAST_FLOW_TIME, 1)
        timesteps, alpha, sigma, snr = t * NUM_TIMESTEPS, 1 - t, t, ((1 - t) / t).square()
        timesteps, alpha, sigma, snr = (table.float() for table in (timesteps, alpha, sigma, snr))
    else:
        timesteps = times.long().clamp(0, NUM_TIMESTEPS - 1)
        schedule = noise_schedule(zero_terminal_snr=cfg.zero_terminal_snr)
        alpha, sigma, snr = (table[timesteps] for table in (schedule.alpha, schedule.sigma, schedule.snr))
    return NoiseLevels(timesteps, alpha[:, None, None, None], sigma[:, None, None, None], snr)


def shift_time(t: torch.Tensor, shift: float) -> torch.Tensor:
    """t of a flow in [0, 1], moved towards noise: shift t / (1 + (shift - 1) t) (Esser et al. 2024, equation 23).

    It divides sqrt(snr_t) = (1 - t) / t by `shift`. So 1 / shift undoes it, and shifts multiply. Written so that 0 and
    1 stay exactly what they are.
    """
    return t if shift == 1 else t / (t + (1 - t) / shift)
