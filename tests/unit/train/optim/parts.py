"""A UNet and two text encoders of the smallest kind, and gradients for them that a step determines."""

from __future__ import annotations

import torch
from torch import nn


class Parts(nn.Module):
    """Matrices, vectors, convolutions with kernels of 3 x 3 and 1 x 1, and a scalar."""

    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.unet = nn.ModuleDict(
                {
                    "conv_in": nn.Conv2d(2, 3, 3),
                    "down": nn.ModuleList([nn.Linear(96, 48), nn.Conv2d(5, 7, 1), nn.Linear(96, 48)]),
                }
            ).to(dtype)
            self.text_encoder = nn.Linear(4, 4).to(dtype)
            self.text_encoder_2 = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(70, 90)).to(dtype)
            self.text_encoder_2.scale = nn.Parameter(torch.tensor(0.5, dtype=dtype))


def set_gradients(model: nn.Module, step: int) -> None:
    """Gradients that are a function of the step and the parameter's place."""
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        if parameter.requires_grad:
            gradient = torch.randn(parameter.shape, generator=generator) * (0.1 + step % 3)
            parameter.grad = gradient.to(parameter.dtype)


def take_steps(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Steps `optimizer` with the gradients of `steps`."""
    for step in steps:
        set_gradients(model, step)
        optimizer.step()


def worst(a: nn.Module, b: nn.Module) -> float:
    """Largest difference between two models' parameters, relative to the largest number of each parameter."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((x - y).abs().max().detach() / (x.abs().max().detach() + 1e-12)) for x, y in pairs)
