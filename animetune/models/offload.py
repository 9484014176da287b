"""Frozen networks that live in the CPU's memory and visit the device only while they are used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def visiting(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Within the block the parameters are on `device`, before and after it on the CPU, in pinned memory for a GPU.

    A frozen network's weights are never written, so nothing has to be copied back: leaving the block drops the copies.
    Buffers stay where they are; they are small, and DDP sends them around.
    """
    homes = {parameter: _home(parameter.data, device) for parameter in network.parameters()}
    for parameter, home in homes.items():
        parameter.data = home.to(device, non_blocking=True)
    try:
        yield
    finally:
        for parameter, home in homes.items():
            parameter.data = home


def _home(weights: Tensor, device: torch.device) -> Tensor:
    """The weights on the CPU: themselves, or a copy when they are elsewhere or, for a GPU, not pinned."""
    home = weights.cpu()
    return home.pin_memory() if device.type == "cuda" and not home.is_pinned() else home
