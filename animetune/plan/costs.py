"""What one micro-batch of a training configuration costs: bytes by its size, FLOPs by the pictures' size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from animetune import fsio
from animetune.models.flops import executed_flops
from animetune.models.rehearsal import meta_models
from animetune.models.sdxl import Architecture
from animetune.plan.memory import predict_memory
from animetune.records import Size
from animetune.train.config import TrainConfig
from animetune.train.utilization import ImageFlops

REHEARSED = (1, 8, 64)
"""Micro-batches that are rehearsed; what lies between is interpolated."""
SLACK = 1.08
"""What the allocator holds for each byte in use, at most."""
CONTEXT = 1_000_000_000
"""Bytes of the CUDA context and the workspaces of its libraries."""
RECOMPUTED_AT = Size(512, 512)
"""Where the share of what is recomputed is counted: with the pictures' size it changes by a hundredth."""


@dataclass(frozen=True)
class MemoryCurve:
    """The peak on one device by pictures in a micro-batch.

    A peak is the largest of several moments, each of which grows evenly (but for a thousandth): so the line between two
    points lies above the truth, never below it.
    """

    points: tuple[tuple[int, int], ...]
    """(pictures, bytes), at least two, the pictures ascending."""

    def at(self, batch: int) -> float:
        """Bytes with `batch` pictures, without context and slack."""
        pairs = list(zip(self.points, self.points[1:], strict=False))
        (few, low), (many, high) = next((pair for pair in pairs if batch <= pair[1][0]), pairs[-1])
        return low + (high - low) * (batch - few) / (many - few)

    def needed(self, batch: int) -> float:
        """Bytes that a GPU has to have for `batch` pictures."""
        return self.at(batch) * SLACK + CONTEXT

    def largest(self, memory: int) -> int:
        """The most pictures that fit into `memory` bytes; 0 if not even one does."""
        batch = 0
        step = 1 << 12
        while step:
            if self.needed(batch + step) <= memory:
                batch += step
            step >>= 1
        return batch


@dataclass(frozen=True)
class TrainingCosts:
    """What a training configuration costs."""

    memory: MemoryCurve
    flops: ImageFlops
    """Of the model: forward and backward."""
    recomputed: float
    """FLOPs executed for each of the model's: 1 where nothing is recomputed."""


def training_costs(
    cfg: TrainConfig, architecture: Architecture, largest: Size, *, pixels: bool, devices: int
) -> TrainingCosts:
    """Rehearse `cfg` on meta tensors, with micro-batches of pictures of the size `largest`; half a minute for SDXL.

    On several devices gradients are there throughout, since DDP's buckets hold them; nothing is taken to be sharded.
    """
    flops = ImageFlops(architecture, cfg.model, chunks=cfg.data.chunks, pixels=pixels)
    recomputed = 1.0
    if cfg.model.activation_checkpointing != "none":
        executed = executed_flops(
            architecture, RECOMPUTED_AT, batch=1, chunks=cfg.data.chunks, cfg=cfg.model, pixels=pixels
        )
        recomputed = executed / flops(RECOMPUTED_AT)
    return TrainingCosts(_curve(cfg, architecture, largest, pixels, devices), flops, recomputed)


def same_costs(cfg: TrainConfig, largest: Size, *, pixels: bool, devices: int) -> str:
    """A key that is equal for configurations whose costs are."""
    model = cfg.model.model_dump(mode="json", exclude={"base", "weights", "vae", "compile", "attention"})
    optimizer = cfg.optimizer.model_dump(mode="json")
    rates = {name for name in optimizer if name.endswith("lr") or name in ("block_lrs", "weight_decay", "clip")}
    kept = {name: value for name, value in optimizer.items() if name not in rates}
    base = cfg.model.base if cfg.model.base.partition(":")[0] in ("random", "builtin") else "sdxl"
    what = [base, model, kept, cfg.data.chunks, largest.name, pixels, devices > 1, _averages(cfg), _accumulates(cfg, 1)]
    return fsio.canonical_json(what)


def mean_flops(costs: TrainingCosts, shares: Sequence[tuple[Size, float]]) -> float:
    """The model's FLOPs of a picture, on average over sizes with weights."""
    total = sum(weight for _, weight in shares)
    return sum(costs.flops(size) * weight for size, weight in shares) / total


def _curve(cfg: TrainConfig, architecture: Architecture, largest: Size, pixels: bool, devices: int) -> MemoryCurve:
    models = meta_models(architecture, cfg.model)
    points = []
    for batch in REHEARSED:
        memory = predict_memory(
            models,
            cfg.optimizer,
            largest,
            batch=batch,
            chunks=cfg.data.chunks,
            accumulates=_accumulates(cfg, devices),
            averages=_averages(cfg),
            pixels=pixels,
            offload_frozen=cfg.model.offload_frozen,
        )
        points.append((batch, memory.total))
    return MemoryCurve(tuple(points))


def _accumulates(cfg: TrainConfig, devices: int) -> bool:
    """Whether gradients are there before a backward pass begins."""
    return not cfg.optimizer.in_backward and (devices > 1 or cfg.data.micro_batches > devices)


def _averages(cfg: TrainConfig) -> int:
    return len(cfg.ema.decays) if cfg.ema and cfg.ema.device == "model" else 0
