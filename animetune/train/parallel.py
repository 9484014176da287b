"""Several ranks: which strategy, how a model is sharded, and what a failure on one of them means for the others.

    ddp     every rank holds everything; gradients are averaged in buckets while the backward pass runs
    fsdp    FSDP2: weights, gradients, optimizer state and averages are sharded over all ranks, and each block's
            weights are gathered for the moment that it computes

Both average gradients over the ranks, which is what `Batch.share` counts on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

import pytorch_lightning as pl
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from animetune import errors
from animetune.errors import AnimetuneError
from animetune.models.sdxl import Sdxl

BLOCKS = (BasicTransformerBlock, ResnetBlock2D, CLIPEncoderLayer)
"""What is gathered at a time under fsdp: up to 49 M parameters of SDXL. The 54 M in no block are gathered together."""

_T = TypeVar("_T")


class ReplicatedStrategy(DDPStrategy):
    """Ranks that each hold everything and average gradients by themselves: `optim.in_backward`, beside which DDP's own
    reduction would come too late."""

    def configure_ddp(self) -> None:
        """Leave the model as it is."""


def build_strategy(name: Literal["auto", "ddp", "fsdp"], *, ranks: int, in_backward: bool) -> Any:
    """Lightning's strategy for so many ranks; `auto` is ddp where there are several."""
    if name == "fsdp":
        return ModelParallelStrategy(data_parallel_size=ranks, tensor_parallel_size=1)
    if ranks == 1:
        return "auto"
    # No static_graph: it fails at micro-batches without reduction (no_sync), which accumulation consists of, and all
    # that it would save is a search for unused parameters that is off anyway.
    return ReplicatedStrategy() if in_backward else DDPStrategy(gradient_as_bucket_view=True)


def shard(models: Sdxl, mesh: DeviceMesh) -> None:
    """Shard the trained networks over the ranks of a 1-D mesh, block by block; frozen ones stay whole on each rank.

    Gradients are summed in float32 whatever the weights' type. Every block is let go of after its forward pass, the
    outermost too, so that the parameters that one sees are always the shards.
    """
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for network in (models.unet, models.text_encoder, models.text_encoder_2):
        if any(parameter.requires_grad for parameter in network.parameters()):
            for module in [*(each for each in network.modules() if isinstance(each, BLOCKS)), network]:
                fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def gathered(trainer: pl.Trainer, value: _T) -> list[_T]:
    """What every rank has, by rank, on every rank."""
    if trainer.world_size == 1:
        return [value]
    found: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(found, value)
    return found


@contextlib.contextmanager
def together(trainer: pl.Trainer) -> Iterator[None]:
    """What a rank raises within the block is raised on all ranks at its end, which all wait for.

    Without it, the other ranks would wait for the one that failed until the backend's timeout, and end with that.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    failures = gathered(trainer, None if error is None else (type(error).__name__, str(error)))
    if error is not None:
        raise error
    for rank, failure in enumerate(failures):
        if failure is not None:
            name, text = failure
            if hasattr(errors, name):
                raise getattr(errors, name)(text)
            raise AnimetuneError(f"rank {rank}: {name}: {text}")


def from_first_rank(trainer: pl.Trainer, make: Callable[[], _T]) -> _T:
    """What `make` returns, or raises, on rank 0; on all ranks."""
    made: list[Any] = [None]
    with together(trainer):
        if trainer.is_global_zero:
            made = [make()]
    if trainer.world_size > 1:
        torch.distributed.broadcast_object_list(made, src=0)
    return made[0]
