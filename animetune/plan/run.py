"""`animetune plan CONFIG`: the training configuration, worked out and written as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from animetune.buckets import ANIMAGINE_SIZES
from animetune.data.epoch_plan import PlanSpec
from animetune.data.source import open_data, plan_spec
from animetune.errors import DataError, SetupError
from animetune.models.sdxl import COMPONENTS, Architecture, Sdxl, build_network, sdxl_configs
from animetune.models.tiny import tiny_configs
from animetune.plan.memory import activation_bytes, cast, state_bytes
from animetune.records import Size
from animetune.shardset import Group
from animetune.train.config import TrainConfig


@dataclass(frozen=True)
class SizeLine:
    """What an epoch has of one size."""

    size: Size
    rows: int
    """Samples in the shards."""
    samples: float
    """Expected samples of an epoch: the sum of their repeats."""


def describe(cfg: TrainConfig, *, assume_images: int | None = None) -> str:
    """The report; with `assume_images` the shards are not opened, and that many pictures are assumed, each seen once.

    Raises SetupError or DataError when the shards or labels cannot be read and nothing was assumed.
    """
    sizes, steps_per_epoch, warnings = _data(cfg, assume_images)
    steps = cfg.loop.total_steps(steps_per_epoch)
    lines = [
        *_section("data", _data_lines(cfg, sizes, assume_images)),
        *_section("length", _length_lines(cfg, steps_per_epoch, steps)),
        *_section("model", _model_lines(cfg)),
        *_section("memory of one device, estimated", _memory_lines(cfg, [line.size for line in sizes])),
        *_section("warnings", [*warnings, *_warnings(cfg, sum(line.rows for line in sizes))]),
    ]
    return "\n".join(lines)


def meta_models(cfg: TrainConfig) -> Sdxl:
    """The networks without memory, frozen as training would freeze them. Only the architecture of the base is needed,
    and every base but the tiny ones has SDXL's."""
    with torch.device("meta"):
        networks = {component: build_network(architecture_of(cfg), component) for component in COMPONENTS}
    dtype = getattr(torch, cfg.model.dtype)
    held: dict[str, Any] = {component: cast(network, dtype) for component, network in networks.items()}
    models = Sdxl(architecture_of(cfg), **held)
    models.unet.requires_grad_(cfg.model.train_unet)
    if not cfg.model.train_text_encoders:
        models.text_encoder.requires_grad_(False)
        models.text_encoder_2.requires_grad_(False)
    return models


def architecture_of(cfg: TrainConfig) -> Architecture:
    """Of the base, without reading weights."""
    return tiny_configs() if cfg.model.base.endswith(":tiny") else sdxl_configs()


def _data(cfg: TrainConfig, assume_images: int | None) -> tuple[list[SizeLine], int, list[str]]:
    if assume_images is not None:
        shares = [assume_images // len(ANIMAGINE_SIZES)] * len(ANIMAGINE_SIZES)
        sizes = [SizeLine(size, share, float(share)) for size, share in zip(ANIMAGINE_SIZES, shares, strict=True)]
        return sizes, max(1, assume_images // cfg.data.global_batch), []
    try:
        root, labels = open_data(cfg.data)
    except (DataError, SetupError) as error:
        raise type(error)(f"{error}\n(with --assume-images N, plan works without reading the shards)") from error
    spec = plan_spec(cfg.data, root, labels, seed=cfg.seed)
    groups = root.groups_of("train")
    sizes = [
        SizeLine(group.size, group.samples, float(samples))
        for group, samples in zip(groups, spec.samples_by_size, strict=True)
    ]
    return sizes, spec.steps, _small_size_warnings(spec, groups)


def _data_lines(cfg: TrainConfig, sizes: Sequence[SizeLine], assumed: int | None) -> Iterator[str]:
    if assumed is not None:
        yield f"{assumed:,} pictures assumed, in Animagine's nine sizes; the shards were not opened"
        return
    total = sum(line.samples for line in sizes)
    yield f"{sum(line.rows for line in sizes):,} samples in {cfg.data.shards}, {total:,.1f} expected an epoch"
    for line in sorted(sizes, key=lambda line: -line.samples):
        bar = "#" * round(40 * line.samples / max(other.samples for other in sizes))
        yield f"{line.size.name:>10} {line.rows:>10,} {line.samples:>12,.1f}  {bar}"


def _length_lines(cfg: TrainConfig, steps_per_epoch: int, steps: int) -> Iterator[str]:
    batch = cfg.data.global_batch
    micro_batches = batch // cfg.data.micro_batch
    yield f"{batch} pictures a step: {micro_batches} micro-batches of {cfg.data.micro_batch}, over all devices"
    yield f"ranks that fit: {', '.join(str(n) for n in range(1, micro_batches + 1) if micro_batches % n == 0)}"
    yield f"{steps_per_epoch:,} steps an epoch"
    yield f"{steps:,} steps in all = {steps / steps_per_epoch:.2f} epochs = {steps * batch:,} pictures"
    yield f"a checkpoint every {cfg.loop.checkpoint_every:,} steps, the newest {cfg.loop.keep_checkpoints} kept"


def _model_lines(cfg: TrainConfig) -> Iterator[str]:
    models = meta_models(cfg)
    yield f"{cfg.model.base}, held in {cfg.model.dtype}"
    for component in COMPONENTS[:3]:
        parameters = list(getattr(models, component).parameters())
        count = sum(parameter.numel() for parameter in parameters)
        trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        rate = f"trained at {cfg.optimizer.lr_of(component):g}" if trained else "frozen"
        yield f"{component:<15} {count / 1e6:>9,.1f} M parameters, {trained / 1e6:>9,.1f} M of them {rate}"
    yield f"optimizer {cfg.optimizer.name}, schedule {cfg.schedule.name}, {cfg.diffusion.prediction} prediction"


def _memory_lines(cfg: TrainConfig, sizes: Sequence[Size]) -> Iterator[str]:
    state = state_bytes(meta_models(cfg), cfg.optimizer, ema=cfg.loop.ema_decay is not None)
    largest = max(sizes, key=lambda size: size.area)
    activations = activation_bytes(
        architecture_of(cfg),
        largest,
        batch=cfg.data.micro_batch,
        dtype=getattr(torch, cfg.model.dtype),
        chunks=cfg.data.chunks,
        checkpointing=cfg.model.gradient_checkpointing,
    )
    parts = {
        "weights": state.weights,
        "gradients": state.gradients,
        "optimizer": state.optimizer,
        "EMA": state.ema,
        f"UNet activations, {cfg.data.micro_batch} x {largest.name}": activations,
    }
    for name, count in parts.items():
        yield f"{name:<36} {count / 1e9:>8.2f} GB"
    total = sum(parts.values()) / 1e9
    yield f"{'together':<36} {total:>8.2f} GB, and about 1 GB for CUDA and 3 to 8 % for the allocator"


def _small_size_warnings(spec: PlanSpec, groups: Sequence[Group]) -> list[str]:
    names = [groups[index].size.name for index in spec.small_sizes]
    if not names:
        return []
    return [
        f"{', '.join(names)}: fewer pictures than a micro-batch of {spec.micro_batch}; they repeat inside one. Make "
        "fewer sizes, or lower micro_batch"
    ]


def _warnings(cfg: TrainConfig, images: int) -> Iterator[str]:
    """The guards that the recipes' documents ask for."""
    if cfg.model.train_text_encoders and images < 5_000:
        yield f"text encoders are trained on {images:,} pictures: on a small set they forget words; think of freezing"
    if cfg.model.train_unet and cfg.optimizer.unet_lr < 5e-7:
        yield f"optimizer.unet_lr {cfg.optimizer.unet_lr:g} is too low to form new concepts"
    if cfg.diffusion.noise_offset and cfg.data.global_batch < 128:
        yield f"noise_offset with a batch of {cfg.data.global_batch}: Illustrious advises it only with large batches"


def _section(title: str, lines: Sequence[str] | Iterator[str]) -> list[str]:
    found = list(lines)
    return [f"{title}:", *(f"    {line}" for line in found), ""] if found else []
