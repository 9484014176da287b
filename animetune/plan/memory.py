"""How much device memory a training step needs at most: a real step, rehearsed on the meta device.

Weights, optimizer state and moving averages are added up. What comes and goes in a step (activations, what is computed
again, gradients, and the copies that the optimizer makes) is counted by watching every tensor live and die in a
rehearsal without memory or arithmetic, with attention as the fused kernels do it (query, key, value, output and one
log-sum-exp a query; no matrix of scores).

Not in it: the CUDA context and the workspaces of its libraries (about 1 GB), the allocator's slack (3 to 8 %), DDP's
buckets, which hold all gradients from the start, and what compiled blocks save.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from animetune.models.rehearsal import rehearse
from animetune.models.sdxl import Sdxl
from animetune.records import Size
from animetune.train.optim.config import (
    AdafactorConfig,
    AdamW8bitConfig,
    AdamWConfig,
    AnyOptimizerConfig,
    CustomConfig,
    LionConfig,
)
from animetune.train.optim.in_backward import BUCKET
from animetune.train.optim.master import AT_ONCE

FP32 = 4
RANDOM_BITS = 4
"""Bytes of randomness for each weight that is rounded stochastically."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, without sharding."""

    weights: int
    optimizer: int
    ema: int
    step: int
    """Activations and gradients, at the moment of the step when there are most."""
    update: int
    """Gradients and the optimizer's copies, likewise; 0 when it steps within the backward pass, where `step` has it."""

    @property
    def total(self) -> int:
        """The peak."""
        return self.weights + self.optimizer + self.ema + max(self.step, self.update)


def predict_memory(
    models: Sdxl,
    optimizer: AnyOptimizerConfig,
    size: Size,
    *,
    batch: int,
    chunks: int,
    accumulates: bool = False,
    averages: int = 0,
    pixels: bool = False,
    offload_frozen: bool = False,
) -> Memory:
    """Memory of training `models`, which are `rehearsal.meta_models`, on micro-batches of `batch` pictures of `size`.

    `accumulates`: whether a step has several micro-batches, so that gradients wait while activations grow. `averages`:
    moving averages on the device. `pixels`: whether the VAE encodes the batch. `offload_frozen`: whether frozen text
    encoders and the VAE are there for their use only. Gradients of `models` are overwritten.
    """
    trained = [parameter for parameter in models.parameters() if parameter.requires_grad]
    count = sum(parameter.numel() for parameter in trained)
    step = _step_bytes(models, optimizer, size, batch, chunks, accumulates, pixels)
    text_encoders, vaes = [models.text_encoder, models.text_encoder_2], [models.vae] if models.vae is not None else []
    visitors = [each for each in [*text_encoders, *vaes] if offload_frozen and not _is_trained(each)]
    residents = [each for each in [models.unet, *text_encoders, *vaes] if each not in visitors]
    visits = (
        [each for each in text_encoders if each in visitors],
        [each for each in vaes if each in visitors and pixels],
    )
    return Memory(
        weights=sum(_bytes_of(network.parameters()) for network in residents),
        optimizer=sum(state_bytes(parameter, optimizer) for parameter in trained),
        ema=averages * FP32 * count,
        step=max(step, *(sum(_bytes_of(network.parameters()) for network in visit) for visit in visits)),
        update=0 if optimizer.in_backward else _bytes_of(trained) + update_bytes(trained, optimizer),
    )


def state_bytes(parameter: Tensor, optimizer: AnyOptimizerConfig) -> int:
    """What the optimizer keeps of one parameter; a custom one is taken to keep two moments."""
    shape, count = tuple(parameter.shape), parameter.numel()
    master = FP32 * count if optimizer.rounding == "master" and parameter.dtype == torch.bfloat16 else 0
    match optimizer:
        case AdamWConfig() | CustomConfig():
            return master + 2 * FP32 * count
        case LionConfig():
            return master + FP32 * count
        case AdamW8bitConfig():
            # bitsandbytes keeps small tensors in fp32, and of others a scale for every 256 elements of each moment.
            return master + (2 * (count + FP32 * -(-count // 256)) if count >= 4096 else 2 * FP32 * count)
        case AdafactorConfig():
            moment = 0 if optimizer.beta1 is None else FP32 * count
            if len(shape) < 2:
                return master + moment + FP32 * count
            if optimizer.flatten_convolutions:
                return master + moment + FP32 * (shape[0] + count // shape[0])
            return master + moment + FP32 * (count // shape[-1] + count // shape[-2])  # the last two are factored


def update_bytes(parameters: list[nn.Parameter], optimizer: AnyOptimizerConfig) -> int:
    """What a step of these parameters takes for its moment: fp32 copies of bf16 weights and gradients, random bits."""
    sizes = [parameter.numel() for parameter in parameters if parameter.dtype == torch.bfloat16]
    if not sizes:
        return 0
    if isinstance(optimizer, AdafactorConfig):  # casts in tiles, draws for a tensor
        return RANDOM_BITS * max(sizes) if optimizer.rounding == "stochastic" else 0
    at_once = sum(sizes) if isinstance(optimizer, CustomConfig) else min(sum(sizes), max(AT_ONCE, *sizes))
    return at_once * (FP32 if optimizer.rounding == "master" else 2 * FP32 + RANDOM_BITS)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are made while it is on, for as long as they live.

    On the CPU's thread; the meta device's backward pass runs there too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at what it made."""
        made = func(*args, **(kwargs or {}))
        given = {each.untyped_storage()._cdata for each in tree_iter((args, kwargs)) if isinstance(each, Tensor)}
        for each in tree_iter(made):
            if isinstance(each, Tensor) and each.untyped_storage()._cdata not in given:
                self._born(each.untyped_storage())
        return made

    def lend(self, count: int) -> None:
        """`count` bytes more are there for a moment."""
        self.peak = max(self.peak, self.now + count)

    def _born(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._died, storage.nbytes()).atexit = False

    def _died(self, count: int) -> None:
        self.now -= count


def _step_bytes(
    models: Sdxl,
    optimizer: AnyOptimizerConfig,
    size: Size,
    batch: int,
    chunks: int,
    accumulates: bool,
    pixels: bool,
) -> int:
    """The most bytes that are alive in the forward and backward pass beside weights and states."""
    live = LiveBytes()
    ready: list[nn.Parameter] = []

    def step(parameter: Any) -> None:
        ready.append(parameter)
        if _bytes_of(ready) >= BUCKET:
            live.lend(update_bytes(ready, optimizer))
            for each in ready:
                each.grad = None
            ready.clear()

    trained = [parameter for parameter in models.parameters() if parameter.requires_grad]
    models.zero_grad(set_to_none=True)
    with contextlib.ExitStack() as context:
        if optimizer.in_backward:
            for parameter in trained:
                context.callback(parameter.register_post_accumulate_grad_hook(step).remove)
        context.enter_context(_fused_attention())
        context.enter_context(live)
        for _ in range(2 if accumulates else 1):
            rehearse(models, size, batch=batch, chunks=chunks, pixels=pixels)
    models.zero_grad(set_to_none=True)
    return live.peak


def _is_trained(network: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in network.parameters())


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _FusedAttention(torch.autograd.Function):
    """Saves and makes what a fused attention kernel does; computes nothing (meta tensors only)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        logsumexp = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, logsumexp)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        query, key, value, _, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


@contextlib.contextmanager
def _fused_attention() -> Iterator[None]:
    """Within the block, attention on the meta device takes the memory that the fused kernels would."""

    def attention(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        return _FusedAttention.apply(query, key, value)

    with mock.patch.object(F, "scaled_dot_product_attention", attention):
        yield
