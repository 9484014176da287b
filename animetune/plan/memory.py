"""How much device memory a training step needs, counted on the meta device: no weights, no GPU.

Parameters, gradients and optimizer state are counted exactly. Activations are what autograd saves in one forward pass
of the UNet, counted tensor by tensor, with attention as the fused kernels save it (query, key, value, output, one
log-sum-exp a query, and no attention matrix). Not in it: the CUDA context and library workspaces (about 1 GB), the
allocator's slack (3 to 8 %), and whatever the text encoders save when they are trained (small beside the UNet's).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F

from animetune.models.sdxl import Architecture, Sdxl, build_network
from animetune.records import Size
from animetune.tokens import CHUNK
from animetune.train.optim.config import (
    AdafactorConfig,
    AdamW8bitConfig,
    AdamWConfig,
    AnyOptimizerConfig,
    CustomConfig,
    LionConfig,
)

FP32 = 4
GRADIENT_CHECKPOINTING_SHARE = 0.10
"""Saved activations with diffusers' checkpointing, as a share of those without, plus one block's recomputation."""

Optimizer = AnyOptimizerConfig


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, without sharding."""

    weights: int
    gradients: int
    optimizer: int
    ema: int
    activations: int

    @property
    def total(self) -> int:
        """Their sum."""
        return self.weights + self.gradients + self.optimizer + self.ema + self.activations


def state_bytes(models: Sdxl, optimizer: Optimizer, *, ema: bool) -> Memory:
    """Weights, gradients, optimizer state and moving average of the model; activations are left at 0."""
    trained = [parameter for parameter in models.parameters() if parameter.requires_grad]
    count = sum(parameter.numel() for parameter in trained)
    masters = sum(FP32 * parameter.numel() for parameter in trained if parameter.dtype == torch.bfloat16)
    masters *= optimizer.rounding == "master"
    return Memory(
        weights=sum(parameter.numel() * parameter.element_size() for parameter in models.parameters()),
        gradients=sum(parameter.numel() * parameter.element_size() for parameter in trained),
        optimizer=masters + sum(optimizer_state_bytes(tuple(parameter.shape), optimizer) for parameter in trained),
        ema=FP32 * count if ema else 0,
        activations=0,
    )


def activation_bytes(
    architecture: Architecture, size: Size, *, batch: int, dtype: torch.dtype, chunks: int, checkpointing: bool
) -> int:
    """What autograd saves in one forward pass of the UNet at `size` pixels."""
    with torch.device("meta"):
        unet = cast(build_network(architecture, "unet"), dtype)
        latents = torch.empty(batch, 4, size.height // 8, size.width // 8, dtype=dtype)
        text = torch.empty(batch, CHUNK * chunks, architecture.unet["cross_attention_dim"], dtype=dtype)
        added = {
            "text_embeds": torch.empty(batch, architecture.text_encoder_2["projection_dim"], dtype=dtype),
            "time_ids": torch.empty(batch, 6, dtype=dtype),
        }
        timesteps = torch.zeros(batch, dtype=torch.int64)
    weights = {parameter.untyped_storage()._cdata for parameter in unet.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}  # holds the storages, so that no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage
        return tensor

    with _fused_attention(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        unet(latents, timesteps, text, added_cond_kwargs=added)
    total = sum(storage.nbytes() for storage in saved.values())
    return int(total * GRADIENT_CHECKPOINTING_SHARE) if checkpointing else total


def cast(network: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """The network in `dtype`; not by its own `to`, in which diffusers warns of layers that no SDXL network has."""
    return torch.nn.Module.to(network, dtype)


def optimizer_state_bytes(shape: tuple[int, ...], optimizer: Optimizer) -> int:
    """Bytes of state for one parameter; a custom optimizer is taken to keep two moments."""
    count = 1
    for side in shape:
        count *= side
    match optimizer:
        case AdamWConfig() | CustomConfig():
            return 2 * FP32 * count
        case LionConfig():
            return FP32 * count
        case AdamW8bitConfig():
            return 2 * count if count >= 4096 else 2 * FP32 * count  # bitsandbytes keeps small tensors in fp32
        case AdafactorConfig():
            moment = 0 if optimizer.beta1 is None else FP32 * count
            if len(shape) < 2:
                return moment + FP32 * count
            if optimizer.flatten_convolutions:
                return moment + FP32 * (shape[0] + count // shape[0])
            return moment + FP32 * (count // shape[-1] + count // shape[-2])  # the last two dimensions are factored


class _FusedAttention(torch.autograd.Function):
    """Saves what a fused attention kernel saves; computes nothing (meta tensors only)."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(query)
        logsumexp = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, logsumexp)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        raise NotImplementedError("this stand-in only measures the forward pass")


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Within the block, attention on the meta device saves what the fused kernels would."""

    def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **_: Any) -> torch.Tensor:
        return _FusedAttention.apply(query, key, value)

    fused: Callable[..., torch.Tensor] = attention
    with mock.patch.object(F, "scaled_dot_product_attention", fused):
        yield
