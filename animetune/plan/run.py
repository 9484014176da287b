"""`animetune plan CONFIG` of a training configuration: worked out and written as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from animetune.buckets import ANIMAGINE_SIZES
from animetune.data.calendar import Calendar, Phase
from animetune.data.config import NOMINAL_SIDE, DataConfig
from animetune.data.epoch_plan import PlanSpec, plan_epoch
from animetune.data.source import SizeClass, Source, describe_small, open_data, plan_spec, size_classes
from animetune.errors import ConfigError, DataError, SetupError
from animetune.models.rehearsal import meta_models
from animetune.models.sdxl import COMPONENTS, Architecture, sdxl_configs
from animetune.models.sources import known_architecture
from animetune.plan.memory import predict_memory
from animetune.plan.storage import Traffic, Usage, shard_sizes, traffic_of, usage_of
from animetune.plan.text import bar, curve, section
from animetune.progress import bytes_text
from animetune.records import Size
from animetune.train.config import TrainConfig

CURVE = 60
"""Steps that a curve of the learning rate shows."""

FEW_PICTURES = 10_000
"""Animagine XL froze the text encoders on 8,000 pictures, AIDXL trained them on 22,000."""
LOW_LR = 5e-7
"""Animagine XL aligned features at 1e-6; AIDXL stops where its rate falls below this."""
LARGE_BATCH = 128
"""The smallest of Illustrious."""

NINE_SIZES = tuple(SizeClass(str(NOMINAL_SIDE), size) for size in ANIMAGINE_SIZES)
"""What pictures are taken to have while there are no shards."""


@dataclass(frozen=True)
class ClassLine:
    """What an epoch has of one tier and size."""

    tier: str
    size: Size
    rows: int
    """Samples in the shards."""
    samples: float
    """Expected samples of an epoch: the sum of their repeats."""
    capacity: int
    """Samples of a full micro-batch."""
    micro_batches: float
    """Expected micro-batches of an epoch."""
    small: bool
    """Whether a micro-batch, or a step of one size, has more samples than there are to draw."""


@dataclass(frozen=True)
class EpochFacts:
    """What is known of an epoch."""

    classes: list[ClassLine]
    """Of the first epoch."""
    calendar: Calendar
    source_lines: list[str]
    pixels: bool = False
    """Whether the shards hold pixels, which the VAE encodes along the way."""
    usage: Usage | None = None
    """None when the shards were not opened."""
    traffic: Traffic | None = None


def describe(cfg: TrainConfig, *, assume_images: int | None = None) -> str:
    """The report; with `assume_images` the shards are not opened, and that many pictures are assumed, each seen once.

    Raises SetupError or DataError when the shards or labels cannot be read and nothing was assumed, ConfigError when
    no picture was.
    """
    if assume_images is not None and assume_images < 1:
        raise ConfigError(f"plan: --assume-images {assume_images}: is no number of pictures; give one from 1")
    epoch = read_epoch(cfg) if assume_images is None else assumed_epoch(cfg, assume_images)
    lines = [
        *section("data", [*epoch.source_lines, *(_class_lines(epoch.classes) if epoch.usage else [])]),
        *section("shards", _shard_lines(cfg.data, epoch)),
        *section("length", _length_lines(cfg, epoch)),
        *section("model", _model_lines(cfg)),
        *section("learning rates", _rate_lines(cfg, epoch.calendar)),
        *section("memory of one device, estimated", _memory_lines(cfg, epoch)),
        *section(
            "warnings", [*_data_warnings(cfg.data, epoch), *guards(cfg, sum(line.rows for line in epoch.classes))]
        ),
    ]
    return "\n".join(lines)


def architecture_of(cfg: TrainConfig) -> Architecture:
    """Of the base, without reading weights: SDXL's, but for what comes with animetune."""
    return known_architecture(cfg.model.base) or sdxl_configs()


def read_epoch(cfg: TrainConfig) -> EpochFacts:
    """What the shards and labels say. Raises SetupError or DataError when they cannot be read."""
    try:
        sources = open_data(cfg.data)
    except (DataError, SetupError) as error:
        raise type(error)(f"{error}\n(with --assume-images N, plan works without reading the shards)") from error
    spec = plan_spec(cfg.data, sources, seed=cfg.seed)
    sizes = shard_sizes(sources)
    return EpochFacts(
        classes=_classes(sources, spec),
        calendar=spec.calendar,
        source_lines=list(_source_lines(cfg.data, sources)),
        pixels=any(source.root.latents is None for source in sources),
        usage=usage_of(spec, sizes),
        traffic=traffic_of(spec, plan_epoch(spec, 0), sizes),
    )


def assumed_epoch(
    cfg: TrainConfig, images: int, sizes: Sequence[SizeClass] = NINE_SIZES, *, pixels: bool = False
) -> EpochFacts:
    """An epoch of `images` pictures, each seen once, which take turns among `sizes`."""
    classes = []
    for place, (tier, size) in enumerate(sizes):
        rows = len(range(place, images, len(sizes)))  # they take turns
        capacity = cfg.data.capacity(tier)
        together = capacity * (cfg.data.micro_batches if cfg.data.one_size_per == "step" else 1)
        classes.append(ClassLine(tier, size, rows, float(rows), capacity, rows / capacity, small=rows < together))
    which = "Animagine's nine sizes" if sizes is NINE_SIZES else f"{len(sizes)} sizes"
    note = f"{images:,} pictures assumed, in {which}; the shards were not opened"
    batches = {0: cfg.data.global_batch, **cfg.data.global_batch_from}
    micro_batches = sum(line.micro_batches for line in classes)  # as many of a step hold more or fewer pictures
    phases = (
        Phase(epoch, max(1, int(round(micro_batches * cfg.data.micro_batch, 3)) // batch))
        for epoch, batch in sorted(batches.items())
    )
    return EpochFacts(classes, Calendar(tuple(phases)), [note], pixels=pixels)


def _classes(sources: Sequence[Source], spec: PlanSpec) -> list[ClassLine]:
    small = set(spec.small_classes)
    rows = np.bincount(spec.group_classes, weights=np.diff(spec.group_starts), minlength=len(spec.capacities))
    return [
        ClassLine(
            tier=each.tier,
            size=each.size,
            rows=int(rows[index]),
            samples=float(spec.samples_by_class[index]),
            capacity=int(spec.capacities[index]),
            micro_batches=float(spec.units_by_class[index]),
            small=index in small,
        )
        for index, each in enumerate(size_classes(sources))
    ]


def _source_lines(cfg: DataConfig, sources: Sequence[Source]) -> Iterator[str]:
    for each, source in zip(cfg.all_sources, sources, strict=True):
        expected = source.repeats.sum(dtype=np.float64)
        weight = f", weight {each.weight:g}" if each.weight != 1 else ""
        yield f"{len(source.rows):,} samples in {each.shards}, {expected:,.1f} expected an epoch{weight}"


def _class_lines(classes: Sequence[ClassLine]) -> Iterator[str]:
    """A table by tier, the most frequent size first."""
    most = max(line.samples for line in classes) or 1.0
    yield f"{'tier':>6} {'size':>10} {'samples':>10} {'an epoch':>12} {'micro-batch':>12} {'micro-batches':>14}"
    for tier, lines in groupby(classes, key=lambda line: line.tier):
        for line in sorted(lines, key=lambda line: -line.samples):
            counts = f"{line.rows:>10,} {line.samples:>12,.1f} {line.capacity:>12,} {line.micro_batches:>14,.1f}"
            yield f"{tier:>6} {line.size.name:>10} {counts}  {bar(line.samples, most)}".rstrip()


def _shard_lines(cfg: DataConfig, epoch: EpochFacts) -> Iterator[str]:
    if epoch.usage is None or epoch.traffic is None:
        return
    usage, traffic = epoch.usage, epoch.traffic
    unused = int(np.count_nonzero(usage.shares == 0))
    yield f"{len(usage.sizes):,} shards, {bytes_text(usage.sizes.sum())}; {unused:,} of them are never read"
    yield f"{usage.used_share:.0%} of the bytes in the others belong to samples that are trained on (repeats above 0)"
    if usage.shares.min() < 1:
        counts, edges = np.histogram(usage.shares[usage.shares > 0], bins=4, range=(0, 1))
        for count, low, high in zip(counts.tolist(), edges[:-1], edges[1:], strict=True):
            yield f"{count:>10,} shards used to {low:.0%} to {high:.0%}  {bar(count, counts.max())}".rstrip()
    yield (
        f"in use at a time: at most {bytes_text(traffic.most_open)}; with that much as `cache_bytes`, an epoch "
        f"downloads {bytes_text(traffic.reopened)}. A smaller shuffle_block (now {cfg.shuffle_block:,}) needs less"
    )


def _length_lines(cfg: TrainConfig, epoch: EpochFacts) -> Iterator[str]:
    batches = {0: cfg.data.global_batch, **cfg.data.global_batch_from}
    steps = cfg.total_steps(epoch.calendar)
    epochs = epoch.calendar.epochs_at(steps)
    pictures = round(epochs * sum(line.samples for line in epoch.classes))
    capacities = sorted({line.capacity for line in epoch.classes})
    for first, batch in sorted(batches.items()):
        columns, since = batch // cfg.data.micro_batch, f"from epoch {first}, " if len(batches) > 1 else ""
        yield (
            f"{since}a step: {columns} micro-batches of {', '.join(map(str, capacities))} pictures, over all devices; "
            f"{epoch.calendar.steps_in(first):,} steps an epoch"
        )
    columns = math.gcd(*batches.values()) // cfg.data.micro_batch
    yield f"ranks that fit: {', '.join(str(n) for n in range(1, columns + 1) if columns % n == 0)}"
    yield f"{steps:,} steps in all = {epochs:.2f} epochs = {pictures:,} pictures"
    yield f"a checkpoint every {cfg.checkpoints.every}, the newest {cfg.checkpoints.keep} kept"


def _model_lines(cfg: TrainConfig) -> Iterator[str]:
    models = meta_models(architecture_of(cfg), cfg.model)
    yield f"{cfg.model.base}, held in {cfg.model.dtype}"
    for component in COMPONENTS[:3]:
        parameters = list(getattr(models, component).parameters())
        count = sum(parameter.numel() for parameter in parameters)
        trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        rate = f"trained at {cfg.optimizer.lr_of(component):g}" if trained else "frozen"
        yield f"{component:<15} {count / 1e6:>9,.1f} M parameters, {trained / 1e6:>9,.1f} M of them {rate}"
    yield f"optimizer {cfg.optimizer.name}, {cfg.diffusion.prediction} prediction"


def _rate_lines(cfg: TrainConfig, calendar: Calendar) -> Iterator[str]:
    """The schedule as a curve for each part that is trained."""
    schedule, steps = cfg.schedule_on(calendar), cfg.total_steps(calendar)
    stop = cfg.schedule.stop_below_lr
    ends = f", ends below {stop:g}, {schedule.total_steps - steps:,} steps before its length" if stop else ""
    yield f"{cfg.schedule.name}, warm-up {cfg.schedule.warmup}{ends}"
    if schedule.warmup >= schedule.total_steps:
        yield (
            f"the warm-up of {schedule.warmup:,} steps fills the run: the configured rate is not reached before its "
            "last step"
        )
    shown = [round(place * (steps - 1) / (CURVE - 1)) for place in range(CURVE)]
    for component in cfg.model.trained:
        rates = [schedule.learning_rate(cfg.optimizer.lr_of(component), step) for step in shown]
        yield f"{component:<15} {curve(rates)} {cfg.optimizer.lr_of(component):g}, {rates[-1]:.3g} at the last step"


def _memory_lines(cfg: TrainConfig, epoch: EpochFacts) -> Iterator[str]:
    largest = max((line for line in epoch.classes if line.samples), key=lambda line: line.capacity * line.size.area)
    devices = cfg.loop.devices if cfg.loop.devices != "auto" else 1
    memory = predict_memory(
        meta_models(architecture_of(cfg), cfg.model),
        cfg.optimizer,
        largest.size,
        batch=largest.capacity,
        chunks=cfg.data.chunks,
        accumulates=cfg.data.micro_batches > devices * cfg.loop.nodes and not cfg.optimizer.in_backward,
        averages=len(cfg.ema.decays) if cfg.ema and cfg.ema.device == "model" else 0,
        pixels=epoch.pixels,
        offload_frozen=cfg.model.offload_frozen,
    )
    parts = {
        "weights": memory.weights,
        "optimizer": memory.optimizer,
        "EMA": memory.ema,
        f"activations and gradients, {largest.capacity} x {largest.size.name}": memory.step,
        "or gradients and what the update takes": memory.update,
    }
    for name, count in parts.items():
        yield f"{name:<42} {count / 1e9:>8.2f} GB"
    yield f"{'at most':<42} {memory.total / 1e9:>8.2f} GB, and about 1 GB for CUDA and 3 to 8 % for the allocator"


def _data_warnings(cfg: DataConfig, epoch: EpochFacts) -> Iterator[str]:
    small = [SizeClass(line.tier, line.size) for line in epoch.classes if line.small]
    if small:
        yield describe_small(cfg, small)
    if epoch.usage and epoch.usage.used_share < 0.5:
        yield (
            f"the labels use {epoch.usage.used_share:.0%} of the bytes that are read: if these labels stay, shards of "
            "their pictures alone take less room and load faster"
        )
    if epoch.traffic and cfg.cache_bytes is not None and cfg.cache_bytes < epoch.traffic.most_open:
        yield (
            f"data.cache_bytes, {bytes_text(cfg.cache_bytes)}, is less than the shards in use at a time, "
            f"{bytes_text(epoch.traffic.most_open)}: they are downloaded again and again. Raise it, or lower "
            f"shuffle_block ({cfg.shuffle_block:,})"
        )


def guards(cfg: TrainConfig, images: int) -> Iterator[str]:
    """What the recipes' documents warn of, for a run on so many pictures; the limits are ours, by what they did."""
    trains_text = cfg.model.train_text_encoder or cfg.model.train_text_encoder_2
    if trains_text and images < FEW_PICTURES:
        yield f"text encoders are trained on {images:,} pictures: on a small set they forget words; think of freezing"
    if cfg.model.train_unet and cfg.optimizer.unet_lr < LOW_LR:
        yield f"optimizer.unet_lr {cfg.optimizer.unet_lr:g} is too low to form new concepts"
    if cfg.diffusion.noise_offset and cfg.data.global_batch < LARGE_BATCH:
        yield f"noise_offset with a batch of {cfg.data.global_batch}: Illustrious advises it only with large batches"
    if not trains_text and Path(cfg.model.base, "checkpoints").is_dir():
        yield (
            f"the UNet alone is tuned from {cfg.model.base}: on a selection of pictures it loses part of what it could "
            f"draw; keep and export {cfg.model.base}, too"
        )
