"""Exponential moving average of the trained weights, kept in fp32 beside them.

    theta_ema <- d_t * theta_ema + (1 - d_t) * theta,    d_t = min(decay, (1 + t) / (10 + t))

The ramp of d_t (as in TensorFlow's ExponentialMovingAverage) keeps the first steps from dominating a short run.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from animetune.train.optim.master import Fp32Master


class Ema:
    """fp32 shadow of named parameters; memory: 4 bytes a parameter, on the parameters' device once `follow` was called.

    It averages `sources`: the parameters, or their fp32 masters where an optimizer keeps some, since a bf16 weight
    moves in steps of half a per cent.
    """

    def __init__(self, parameters: Iterable[tuple[str, torch.nn.Parameter]], *, decay: float):
        self.decay = decay
        self.parameters = dict(parameters)
        self.sources: dict[str, torch.Tensor] = dict(self.parameters)
        self.shadow = {name: parameter.detach().float().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Fold in the weights after optimizer step `step` (1 is the first)."""
        weight = 1 - decay_at(step, self.decay)
        for name, source in self.sources.items():  # one by one: all at once would need another fp32 copy of the model
            self.shadow[name].lerp_(source.detach().float(), weight)

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Move to where the parameters are now, and average the optimizer's fp32 masters if it has them."""
        for name, parameter in self.parameters.items():
            self.shadow[name] = self.shadow[name].to(parameter.device)
            if isinstance(optimizer, Fp32Master):
                self.sources[name] = optimizer.master_of(parameter)

    def load(self, shadow: dict[str, torch.Tensor]) -> None:
        """Take over a saved average; names must be equal."""
        for name, tensor in self.shadow.items():
            tensor.copy_(shadow[name])

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange weights and average; call it twice to sample from the average."""
        for name, parameter in self.parameters.items():
            current = parameter.detach().float().clone()
            parameter.copy_(self.shadow[name])
            self.shadow[name].copy_(current)


def decay_at(step: int, decay: float) -> float:
    """d_t of the module's docstring."""
    return min(decay, (1 + step) / (10 + step))
