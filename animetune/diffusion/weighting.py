"""The factor on each sample's loss, by its signal-to-noise ratio. float32 (b,) in, float32 (b,) out.

`snr_t` is that of the schedule in use, after a zero-terminal rescale. A weight for v prediction is the one for epsilon
times snr / (snr + 1), since |v - v'|^2 = |noise - noise'|^2 (snr + 1) / snr.
"""

from __future__ import annotations

import torch

from animetune.diffusion.config import MinSnrWeighting, NoWeighting, Prediction, Weighting

DEBIASED_MAX_SNR = 1000.0
"""Bound on the ratio in `debiased_weight`, so that the first steps keep some weight."""


def min_snr_weight(snr_t: torch.Tensor, *, gamma: float, prediction: Prediction) -> torch.Tensor:
    """Min-SNR-gamma (Hang et al. 2023, 2303.09556).

    epsilon: min(snr, gamma) / snr, written so that snr = 0 gives its limit, 1, and not NaN.
    v: min(snr, gamma) / (snr + 1). With zero terminal SNR the last timestep thus has weight 0: pure noise is seen, not
    learned from; choose another weighting to learn it.
    """
    if prediction == "epsilon":
        return (gamma / snr_t).clamp(max=1)
    return snr_t.clamp(max=gamma) / (snr_t + 1)


def debiased_weight(snr_t: torch.Tensor, *, prediction: Prediction) -> torch.Tensor:
    """Debiased estimation loss (Yu et al. 2023, 2310.08442).

    epsilon: 1 / sqrt(min(snr, 1000)). v: 1 / (min(snr, 1000) + 1), as kohya's sd-scripts has it; OneTrainer takes the
    square root of that.
    """
    bounded = snr_t.clamp(max=DEBIASED_MAX_SNR)
    return bounded.rsqrt() if prediction == "epsilon" else 1 / (bounded + 1)


def loss_weight(weighting: Weighting, snr_t: torch.Tensor, *, prediction: Prediction) -> torch.Tensor:
    """The weight that a configuration asks for."""
    if isinstance(weighting, NoWeighting):
        return torch.ones_like(snr_t)
    if isinstance(weighting, MinSnrWeighting):
        return min_snr_weight(snr_t, gamma=weighting.gamma, prediction=prediction)
    return debiased_weight(snr_t, prediction=prediction)
