"""The optimizer within the backward pass: each tensor is stepped once its gradient is final, and the gradient freed.

    optimizer = build_optimizer(models, cfg.optimizer)
    stepping = InBackward(optimizer, clip=cfg.optimizer.clip)
    loss.backward()                     # learning rates must be set before; optimizer.step() then finds no gradients

The step is that of the ordinary optimizer, bit for bit, over gradients of at most `BUCKET` bytes at a time instead of
all of them (5.1 GB for SDXL's UNet in bf16). What needs all gradients at once is refused: accumulated micro-batches,
whose first gradients are not final, and clipping by the global norm.

A tensor whose gradient is not finite is skipped, on all ranks alike, and listed in `skipped`. That is less than an
ordinary step does, which skips all tensors: those before it have been stepped by the time that it is found.

**Several ranks.** A model wrapped in DistributedDataParallel would be stepped before DDP has averaged the gradients,
and the ranks would drift apart, silently: autograd's hooks run before DDP's reduction ends. So the model must NOT be
wrapped; the gradients are averaged here, in fp32, bucket by bucket. The ranks must start from equal weights, and they
must add up the same tensors at the same time, though autograd may finish them in another order on another rank: rank 0
fills buckets in its order and announces each, the others wait for the announced tensors. Gradients that FSDP2 sharded
are averaged already when it runs the hooks, and are stepped as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from animetune.errors import ConfigError
from animetune.train.optim.clip import clip_tensors, tensor_norms
from animetune.train.optim.config import AnyOptimizerConfig, ClipConfig
from animetune.train.optim.master import Places
from animetune.train.optim.sharded import is_sharded, local

BUCKET = 2**26
"""Bytes of gradients that are averaged and stepped together, 40 times a step for SDXL's UNet: one wait for the device
and a few kernel launches each."""


def refuse_accumulation(cfg: AnyOptimizerConfig, accumulation: int) -> None:
    """Raise ConfigError if a step has several micro-batches and the optimizer cannot wait for the last one."""
    if cfg.in_backward and accumulation > 1:
        raise ConfigError(
            f"optimizer.in_backward: a step has {accumulation} micro-batches, and the gradients of the first are not "
            f"final; make data.micro_batch {accumulation} times as large or data.global_batch as much smaller, or set "
            "in_backward to false"
        )


class InBackward:
    """Steps `optimizer`'s parameters while their gradients are computed; see the module's docstring.

    Every rank of the default process group has to make one, and to run every backward pass. `close` ends it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, clip: ClipConfig | None, bucket: int = BUCKET):
        assert clip is None or clip.by == "tensor_norm", "the norm of all gradients is not known in time"
        self.grad_norm = 0.0
        """Global norm of the gradients of the last backward pass, before clipping."""
        self.skipped: list[str] = []
        """Tensors of the last backward pass whose gradients were not finite, and which were not stepped."""
        self._optimizer = optimizer
        self._places = Places(optimizer)
        self._clip = clip
        self._bucket = bucket
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._names = [name for group in optimizer.param_groups for name in group["param_names"]]
        self._ready: list[int] = []
        self._announced: list[int] | None = None
        self._is_running = False
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        sharded = {is_sharded(parameter) for parameter in self._parameters}
        assert len(sharded) == 1, "either all parameters are sharded or none"
        self._reduces = several and sharded == {False}
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(lambda _, index=index: self._on_gradient(index))
            for index, parameter in enumerate(self._parameters)
        ]

    def close(self) -> None:
        """Let the optimizer step as usual again."""
        for hook in self._hooks:
            hook.remove()

    def _on_gradient(self, index: int) -> None:
        if not self._is_running:
            self._is_running = True
            self._squares, self.skipped = 0.0, []
            torch.autograd.Variable._execution_engine.queue_callback(self._finish)
        self._ready.append(index)
        if self._reduces and dist.get_rank() > 0:
            self._follow()
        elif self._is_full():
            self._announce()
            self._step(self._ready)

    def _finish(self) -> None:
        """The backward pass is over: step what is left."""
        if self._reduces and dist.get_rank() > 0:
            while self._announced or self._listen():
                self._follow()
                if self._announced:
                    missing = [self._names[index] for index in self._announced if index not in self._ready]
                    raise RuntimeError(f"rank {dist.get_rank()} has no gradient of {', '.join(missing)}; rank 0 has")
            assert not self._ready, f"rank 0 has no gradient of {[self._names[index] for index in self._ready]}"
            self._announced = None
        else:
            if self._ready:
                self._announce()
                self._step(self._ready)
            self._announce()
        self.grad_norm = math.sqrt(self._squares) if math.isfinite(self._squares) else self._squares
        self._is_running = False

    def _is_full(self) -> bool:
        gradients = (local(gradient) for index in self._ready if (gradient := self._parameters[index].grad) is not None)
        return sum(gradient.numel() * gradient.element_size() for gradient in gradients) >= self._bucket

    def _announce(self) -> None:
        """Rank 0 tells which tensors are next; none: that was all."""
        if self._reduces:
            message = torch.full((len(self._parameters),), -1, dtype=torch.int64)
            message[: len(self._ready)] = torch.tensor(self._ready, dtype=torch.int64)
            dist.broadcast(message.to(self._parameters[0].device), src=0)

    def _listen(self) -> list[int]:
        message = torch.empty(len(self._parameters), dtype=torch.int64, device=self._parameters[0].device)
        dist.broadcast(message, src=0)
        self._announced = [index for index in message.tolist() if index >= 0]
        return self._announced

    def _follow(self) -> None:
        """Step what rank 0 announced, if all of it is ready."""
        if self._announced is None and self._is_full():
            self._listen()
        if self._announced and set(self._announced) <= set(self._ready):
            self._step(self._announced)
            self._announced = None

    def _step(self, indices: Sequence[int]) -> None:
        """Average, check, clip and step the gradients of these tensors, and free them."""
        indices = list(indices)
        self._ready = [index for index in self._ready if index not in set(indices)]
        parameters = [self._parameters[index] for index in indices]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        with torch.no_grad():
            if self._reduces:
                _average(gradients)
            norms = tensor_norms(gradients)
            values = norms.tolist()
            self._squares += sum(value * value for value in values)
            is_finite = [math.isfinite(value) for value in values]
            self.skipped += [self._names[index] for index, good in zip(indices, is_finite, strict=True) if not good]
            if self._clip:
                clip_tensors(gradients, norms, self._clip.at)
        with self._places.only(each for each, good in zip(parameters, is_finite, strict=True) if good):
            self._optimizer.step()
        for parameter in parameters:
            parameter.grad = None


def _average(gradients: Iterable[Tensor]) -> None:
    """The mean over the ranks, in place, summed in fp32."""
    gradients = list(gradients)
    flat = torch.cat([gradient.reshape(-1).float() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))
