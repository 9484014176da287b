"""Classifier-free guidance."""

from __future__ import annotations

import torch


def guided(conditional: torch.Tensor, unconditional: torch.Tensor, *, scale: float, rescale: float) -> torch.Tensor:
    """The model's output pushed away from that of the negative prompt, float32 (b, 4, h, w).

    Ho & Salimans 2022, 2207.12598, equation 6, `scale` being their w + 1. `rescale`, phi of Lin et al. 2023,
    2305.08891, equations 14 to 16, brings that share of each picture's standard deviation back to what it was without
    guidance. As there (and in diffusers) it is the output, of whatever kind, that is rescaled.
    """
    output = unconditional + scale * (conditional - unconditional)
    if not rescale:
        return output
    axes = tuple(range(1, output.ndim))
    deviation = output.std(axes, keepdim=True)
    factor = torch.where(deviation > 0, conditional.std(axes, keepdim=True) / deviation, 1)
    return output * (rescale * factor + (1 - rescale))
