"""What an error costs: the loss of each latent cell, and its mean over a sample. All float32."""

from __future__ import annotations

import torch

from animetune.diffusion.config import HuberLoss, Loss, SmoothL1Loss, SquaredLoss
from animetune.diffusion.schedule import NUM_TIMESTEPS, NoiseLevels

LEAST_MASK = 1e-6
"""Mean of a mask below which `normalize` stops to enlarge the loss; an empty mask costs nothing."""


def cell_loss(error: torch.Tensor, cfg: Loss, levels: NoiseLevels) -> torch.Tensor:
    """The loss of each cell of `error` = output - target, (b, c, h, w).

    mse: e^2. huber: 2 c (sqrt(e^2 + c^2) - c). smooth_l1: 2 (sqrt(e^2 + c^2) - c). The last two are sd-scripts'
    pseudo-Huber losses (Song & Dhariwal 2023, 2310.14189, section 3.3): e^2 and e^2 / c for small errors, 2 c |e| and
    2 |e| for large ones.
    """
    if isinstance(cfg, SquaredLoss):
        return error.square()
    c = huber_c(cfg, levels)[:, None, None, None]
    # e^2 / (sqrt(e^2 + c^2) + c) is sqrt(e^2 + c^2) - c without a difference of numbers that are nearly equal
    beyond = error.square() / ((error.square() + c.square()).sqrt() + c)
    return 2 * c * beyond if isinstance(cfg, HuberLoss) else 2 * beyond


def huber_c(cfg: HuberLoss | SmoothL1Loss, levels: NoiseLevels) -> torch.Tensor:
    """c at each sample's level, (b,): the schedules of Khrapov et al. 2024 (2403.16728) as sd-scripts has them.

    exponential: c^(t / 1000). snr: (1 - c) / (1 + sigma_t / alpha_t)^2 + c. Both fall from 1 with no noise to c.
    """
    match cfg.schedule:
        case "constant":
            return torch.full_like(levels.snr, cfg.c)
        case "exponential":
            return cfg.c ** (levels.timesteps / NUM_TIMESTEPS)
        case "snr":
            return (1 - cfg.c) / (1 + levels.snr.rsqrt()).square() + cfg.c


def sample_means(losses: torch.Tensor, masks: torch.Tensor | None, *, normalize: bool) -> torch.Tensor:
    """The loss of each sample, (b,): the mean of `losses` (b, c, h, w), times `masks` (b, 1, h, w) if there are any.

    Unnormalized it is a mean over all cells, so that a sample with a small mask counts less (sd-scripts); normalized it
    is divided by the mask's mean, so that all samples count alike (OneTrainer, on demand).
    """
    if masks is None:
        return losses.mean(dim=(1, 2, 3))
    means = (losses * masks).mean(dim=(1, 2, 3))
    return means / masks.mean(dim=(1, 2, 3)).clamp(min=LEAST_MASK) if normalize else means
