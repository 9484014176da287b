"""What the model has to predict, and what a prediction says about the clean latents and the noise.

All tensors are (b, c, h, w), or broadcast to it; alpha_t and sigma_t are those of `schedule`.
"""

from __future__ import annotations

import torch

from animetune.diffusion.config import Prediction

Coefficient = torch.Tensor | float
"""A number for the whole batch, or a float32 (b, 1, 1, 1)."""


def velocity(x_0: torch.Tensor, noise: torch.Tensor, *, alpha_t: Coefficient, sigma_t: Coefficient) -> torch.Tensor:
    """v_t = alpha_t noise - sigma_t x_0 (Salimans & Ho 2022, 2202.00512, appendix D)."""
    return alpha_t * noise - sigma_t * x_0


def training_target(
    x_0: torch.Tensor, noise: torch.Tensor, *, alpha_t: Coefficient, sigma_t: Coefficient, prediction: Prediction
) -> torch.Tensor:
    """The tensor that the model's output is compared with.

    That of a flow is dx_t / dt = noise - x_0, the same at all times (Liu et al. 2022, 2209.03003, equation 1, with time
    running from data to noise; Esser et al. 2024).
    """
    match prediction:
        case "epsilon":
            return noise
        case "v":
            return velocity(x_0, noise, alpha_t=alpha_t, sigma_t=sigma_t)
        case "flow":
            return noise - x_0


def split_prediction(
    x_t: torch.Tensor, output: torch.Tensor, *, alpha_t: Coefficient, sigma_t: Coefficient, prediction: Prediction
) -> tuple[torch.Tensor, torch.Tensor]:
    """The (x_0, noise) that the model's `output` at x_t stands for.

    epsilon: x_0 = (x_t - sigma_t noise) / alpha_t, which needs alpha_t > 0.
    v: x_0 = alpha_t x_t - sigma_t v, noise = sigma_t x_t + alpha_t v; finite even where alpha_t = 0.
    flow: x_0 = x_t - sigma_t u, noise = x_t + alpha_t u, for u = noise - x_0 and alpha_t + sigma_t = 1.
    """
    match prediction:
        case "epsilon":
            return (x_t - sigma_t * output) / alpha_t, output
        case "v":
            return alpha_t * x_t - sigma_t * output, sigma_t * x_t + alpha_t * output
        case "flow":
            return x_t - sigma_t * output, x_t + alpha_t * output
