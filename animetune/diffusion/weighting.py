"""The factor on each sample's loss, by its signal-to-noise ratio. float32 (b,) in, float32 (b,) out.

`snr_t` is that of the schedule in use, after a zero-terminal rescale. The papers state weights for the error of the
noise. A weight for v or a flow is that weight times alpha_t^2, since with x_t known

    noise - noise' = alpha_t (v - v')        and        noise - noise' = (1 - t) (u - u'),   1 - t = alpha_t

so that an error of the picture has the same part in the loss whatever the model predicts. sd-scripts' and OneTrainer's
min-SNR for v is just that; where a peer departs from it, the function says so.
"""

from __future__ import annotations

import math

import torch

from animetune.diffusion.config import (
    CosmapWeighting,
    DebiasedWeighting,
    MinSnrWeighting,
    NoWeighting,
    P2Weighting,
    Prediction,
    SoftMinSnrWeighting,
    Weighting,
)

DEBIASED_MAX_SNR = 1000.0
"""Bound on the ratio in `debiased_weight`, so that the first steps keep some weight: the peers' (sd-scripts PR 889)."""


def loss_weight(weighting: Weighting, snr_t: torch.Tensor, *, prediction: Prediction) -> torch.Tensor:
    """The weight that a configuration asks for."""
    match weighting:
        case NoWeighting():
            return torch.ones_like(snr_t)
        case MinSnrWeighting(gamma=gamma):
            return min_snr_weight(snr_t, gamma=gamma) * noise_error(snr_t, prediction)
        case SoftMinSnrWeighting(gamma=gamma):
            return soft_min_snr_weight(snr_t, gamma=gamma) * noise_error(snr_t, prediction)
        case P2Weighting(gamma=gamma, k=k):
            return p2_weight(snr_t, gamma=gamma, k=k) * noise_error(snr_t, prediction)
        case DebiasedWeighting():
            return debiased_weight(snr_t, prediction=prediction, v_formula=weighting.v_formula)
        case CosmapWeighting():
            return cosmap_weight(snr_t)


def noise_error(snr_t: torch.Tensor, prediction: Prediction) -> torch.Tensor:
    """|noise - noise'|^2 / |target - output|^2: 1 for epsilon, else alpha_t^2."""
    match prediction:
        case "epsilon":
            return torch.ones_like(snr_t)
        case "v":
            return snr_t / (snr_t + 1)
        case "flow":
            return snr_t / (snr_t.sqrt() + 1).square()


def min_snr_weight(snr_t: torch.Tensor, *, gamma: float) -> torch.Tensor:
    """Min-SNR-gamma for epsilon: min(snr, gamma) / snr (Hang et al. 2023, 2303.09556).

    Written so that snr = 0 gives its limit, 1, and not NaN. With v and zero terminal SNR the last timestep has weight
    0: pure noise is seen, not learned from; choose another weighting to learn it.
    """
    return (gamma / snr_t).clamp(max=1)


def soft_min_snr_weight(snr_t: torch.Tensor, *, gamma: float) -> torch.Tensor:
    """Soft min-SNR for epsilon: gamma / (snr + gamma) (Crowson et al. 2024, 2401.11605).

    There, and in k-diffusion, it is 1 / (1 / snr + 1 / gamma) on the error of x_0, gamma = 1 / sigma_data^2.
    """
    return gamma / (snr_t + gamma)


def p2_weight(snr_t: torch.Tensor, *, gamma: float, k: float) -> torch.Tensor:
    """P2 for epsilon: 1 / (k + snr)^gamma (Choi et al. 2022, 2204.00227).

    For v OneTrainer has 1 / (2 + snr)^gamma, which no identity ties to this.
    """
    return (k + snr_t).pow(-gamma)


def debiased_weight(snr_t: torch.Tensor, *, prediction: Prediction, v_formula: str = "kohya") -> torch.Tensor:
    """Debiased estimation: 1 / sqrt(snr) for epsilon (Yu et al. 2023, 2310.08442).

    With snr bounded by 1000 as at the peers, for epsilon and for their v: 1 / (snr + 1), as sd-scripts (`kohya`), or
    its root (`onetrainer`). `paper`, and flow: alpha_t^2 / sqrt(snr), which needs no bound.
    """
    bounded = snr_t.clamp(max=DEBIASED_MAX_SNR)
    if prediction == "epsilon":
        return bounded.rsqrt()
    if prediction == "flow":
        return snr_t.sqrt() / (snr_t.sqrt() + 1).square()
    match v_formula:
        case "kohya":
            return 1 / (bounded + 1)
        case "onetrainer":
            return (bounded + 1).rsqrt()
        case _:
            return snr_t.sqrt() / (snr_t + 1)


def cosmap_weight(snr_t: torch.Tensor) -> torch.Tensor:
    """The density of CosMap, 2 / (pi - 2 pi t + 2 pi t^2), as a weight (Esser et al. 2024, 2403.03206, equation 21).

    Its mean over t is 1; between 0.64 at both ends and 1.27 in the middle.
    """
    t = 1 / (snr_t.sqrt() + 1)
    return 2 / (math.pi * (1 - 2 * t + 2 * t.square()))
