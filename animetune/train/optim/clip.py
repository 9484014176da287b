"""Gradient clipping, named for what it is: by the norm of all gradients, or of each tensor by itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from animetune.train.optim.config import ClipConfig
from animetune.train.optim.sharded import is_sharded, local, shard_group


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], cfg: ClipConfig | None) -> float:
    """Scale gradients down in place by `cfg`; returns the norm of all of them before, for one wait for the device.

    Norms are fp32 sums whatever the gradients are. If the norm is not finite the gradients are left alone: skip the
    step.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return 0.0
    norms = tensor_norms(gradients)
    total = float(torch.linalg.vector_norm(norms))
    if cfg is None or not math.isfinite(total):
        return total
    if cfg.by == "tensor_norm":
        clip_tensors(gradients, norms, cfg.at)
    elif total > cfg.at:
        torch._foreach_mul_([local(gradient) for gradient in gradients], cfg.at / total)
    return total


def tensor_norms(gradients: Sequence[Tensor]) -> Tensor:
    """The 2-norm of each, float32 (n,); of the whole tensor where ranks hold parts of it."""
    norms = torch.stack(torch._foreach_norm([local(gradient) for gradient in gradients], 2, dtype=torch.float32))
    sharded = [index for index, gradient in enumerate(gradients) if is_sharded(gradient)]
    if sharded:
        squares = norms[sharded].square()
        torch.distributed.all_reduce(squares, group=shard_group(gradients[sharded[0]]))
        norms[sharded] = squares.sqrt()
    return norms


def clip_tensors(gradients: Sequence[Tensor], norms: Tensor, at: float) -> None:
    """Scale each gradient whose norm is above `at` down to it, without waiting for the device."""
    factors = (at / norms).clamp(max=1.0)
    torch._foreach_mul_([local(gradient) for gradient in gradients], list(factors.unbind()))
