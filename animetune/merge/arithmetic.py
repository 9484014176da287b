"""The rules by which tensors become one, each a pure function of float tensors of one shape.

All is computed in float32, whatever type the tensors are stored in; a tensor of weight 1 (or at the end of an
interpolation) is given back as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

PARALLEL = 1e-6
"""Radians between two tensors, or from opposite ones, below which slerp and lerp do not differ in float32, or slerp has
no direction to go."""
_CHUNK = 1 << 22
"""Numbers that are held in float64 at once."""


def weighted_sum(weighted: Iterable[tuple[float, Tensor]]) -> Tensor:
    """float32 `sum(weight * tensor)` of at least one, in the order given; two tensors are held at a time."""
    total: Tensor | None = None
    for weight, tensor in weighted:
        if total is None:
            total = tensor.float() if weight == 1 else tensor.float() * weight
        else:
            total = torch.add(total, tensor.float(), alpha=weight)
    assert total is not None, "a sum of nothing"
    return total


def add_difference(model: Tensor, plus: Tensor, minus: Tensor, alpha: float) -> Tensor:
    """float32 `model + alpha * (plus - minus)`; where `plus` and `minus` are equal, that is `model`."""
    return torch.add(model.float(), plus.float() - minus.float(), alpha=alpha)


def slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    """float32 spherical interpolation of two tensors taken as vectors: `first` at t = 0, `second` at t = 1.

    `sin((1 - t) w) / sin(w) * first + sin(t w) / sin(w) * second` with the angle w between them (K. Shoemake, Animating
    rotation with quaternion curves, SIGGRAPH 1985), which is taken of the directions; lengths that differ are carried
    along. Nearly parallel or opposite tensors, and zero, are interpolated in a straight line.
    """
    if t in (0, 1):
        return (second if t else first).float()
    shares = slerp_shares(angle(first, second), t)
    return weighted_sum(zip(shares, (first, second), strict=True))


def slerp_shares(omega: float, t: float) -> tuple[float, float]:
    """What the first and the second vector are multiplied by, `omega` radians apart."""
    if omega < PARALLEL or omega > math.pi - PARALLEL:
        return 1 - t, t
    return math.sin((1 - t) * omega) / math.sin(omega), math.sin(t * omega) / math.sin(omega)


def angle(first: Tensor, second: Tensor) -> float:
    """Radians between two tensors taken as vectors, 0 to pi; 0 if one is zero.

    `2 atan2(|a - b|, |a + b|)` of the unit vectors a and b (W. Kahan), in float64: exact also for tensors so nearly
    parallel, as those of two runs from one base are, that their cosine rounds to 1.
    """
    lengths = [math.sqrt(_sum_of_squares(tensor)) for tensor in (first, second)]
    if not all(lengths):
        return 0.0
    difference = total = 0.0
    for a, b in zip(first.reshape(-1).split(_CHUNK), second.reshape(-1).split(_CHUNK), strict=True):
        one, other = a.double() / lengths[0], b.double() / lengths[1]
        difference += (one - other).square().sum().item()
        total += (one + other).square().sum().item()
    return 2 * math.atan2(math.sqrt(difference), math.sqrt(total))


def _sum_of_squares(tensor: Tensor) -> float:
    return math.fsum(chunk.double().square().sum().item() for chunk in tensor.reshape(-1).split(_CHUNK))
