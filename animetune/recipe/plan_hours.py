"""GPU hours of a recipe's steps, and what its source's hours may mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from animetune.curate.config import CurateConfig
from animetune.plan.gpus import GpuKind, gpu_kind, kind_of_device
from animetune.plan.hours import LIKELY_MFU, Reading, assumed_rate, reading
from animetune.plan.stated import StatedConfig
from animetune.plan.text import about
from animetune.recipe.config import Recipe
from animetune.recipe.plan_facts import TrainFacts, shard_sizes_of
from animetune.shards.config import ShardConfig

DECODE_SECONDS = 0.06
"""Seconds of one core to decode a picture of 3 to 6 megapixels and look at it: JPEG 42 to 69 ms with Pillow."""
ENCODE_SECONDS = 0.08
"""Seconds of one core to decode, resize and encode one."""
LOOKED_AT = 50.0
"""Pictures a second that one GPU tags or scores, for each model; a guess."""
REQUEST_SECONDS = 4.0
"""Seconds that a server takes for a caption while it is asked about many pictures at once; a guess."""
VAE_FLOPS = 4.88e12 / 1024**2
"""FLOPs to encode a pixel; counted at 1024x1024."""
VAE_SHARE = 0.4
"""Of the peak that the VAE's convolutions get; assumed."""


@dataclass(frozen=True)
class Hours:
    """Of a training step."""

    rate: float
    """Pictures a second of one GPU."""
    basis: str
    """`measured` or `assumed`."""
    gpu_hours: float | None
    """None while the number of pictures is not known."""


def hours_of(facts: TrainFacts, kind: GpuKind, *, share: float | None, asked: bool) -> Hours:
    """By the rate of the step's own run; assumed where it has none or, if the kind was `asked` for, on another."""
    measured = facts.measured
    if measured is not None and (share is not None or (asked and kind_of_device(measured.device_name) != kind)):
        measured = None
    rate = measured.per_gpu if measured else assumed_rate(facts.executed, kind, facts.cfg.model.dtype, share=share)
    basis = f"measured on {measured.device_name}" if measured else "assumed"
    return Hours(rate, basis, None if facts.epoch is None else facts.seen / rate / 3600)


def stated_lines(stated: StatedConfig, trainings: Sequence[TrainFacts]) -> Iterator[str]:
    """The published hours against the arithmetic, in every way in which they can be read."""
    counted = [facts for facts in trainings if facts.epoch is not None]
    if stated.gpu is None or not counted or not (stated.gpu_hours or stated.days):
        return
    kind, gpus = gpu_kind(stated.gpu), stated.gpus or 1
    flops = sum(facts.seen * facts.flops for facts in counted)
    recomputed = sum(facts.seen * facts.executed for facts in counted) / flops
    names = ", ".join(facts.step.name for facts in counted)
    left = [facts.step.name for facts in trainings if facts.epoch is None]
    missing = f"; {', '.join(left)} came on top, of unknown length" if left else ""
    yield f"{names}: {about(flops / 1e18)} x 10^18 FLOPs of the model{missing}"
    readings = [(hours, text) for hours, text in _ways(stated, gpus) if hours]
    for hours, text in readings:
        yield f"{text} = {about(hours)} GPU hours: {_verdict(reading(hours, flops, kind, recomputed=recomputed))}"
    if stated.gpu_hours and stated.days and gpus > 1 and abs(stated.gpu_hours / (stated.days * 24) - 1) < 0.1:
        yield (
            f"{stated.gpu_hours:g} is about the wall hours of {stated.days:g} days ({stated.days * 24:g}): most likely "
            f"they were counted once, not for each of {gpus} GPUs"
        )


def data_lines(recipe: Recipe, kind: GpuKind, *, images: Mapping[str, int]) -> Iterator[str]:
    """What tagging, captions and shards take, by rough figures; nothing where the number of pictures is not known."""
    for step in recipe.steps:
        count = images.get(step.name)
        if count is None:
            continue
        if isinstance(step.cfg, CurateConfig):
            yield from (f"{step.name}: {line}" for line in _curation_lines(step.cfg, count))
        elif isinstance(step.cfg, ShardConfig):
            yield f"{step.name}: {_shard_line(step.cfg, count, kind)}"


def _curation_lines(cfg: CurateConfig, images: int) -> Iterator[str]:
    if cfg.pictures.decode:
        yield f"decoding {images:,} pictures: {about(images * DECODE_SECONDS / 3600)} core hours at {DECODE_SECONDS} s"
    if cfg.models.all:
        count = len(cfg.models.all)
        yield (
            f"taggers and scorers, {count}: {about(images * count / LOOKED_AT / 3600)} GPU hours at "
            f"{LOOKED_AT:g} pictures/s each (a guess; a CPU takes 50 times as long)"
        )
    if cfg.captions is not None:
        models = [cfg.captions.long, *([cfg.captions.compress] if cfg.captions.compress else [])]
        each = sum(len(model.templates or (1,)) * model.per_template for model in models)
        requests, at_once = images * each, cfg.captions.client.concurrency
        yield (
            f"captions: {requests:,} requests, {about(requests * REQUEST_SECONDS / at_once / 3600)} hours at "
            f"{REQUEST_SECONDS:g} s each, {at_once} at once (a guess: --max-requests 1000 measures it)"
        )


def _shard_line(cfg: ShardConfig, images: int, kind: GpuKind) -> str:
    cores = f"{about(images * ENCODE_SECONDS / 3600)} core hours to decode and resize, at {ENCODE_SECONDS} s"
    if cfg.store.name == "pixels":
        return cores
    sizes = [size for _, size in shard_sizes_of(cfg)]
    passes = 2 if cfg.store.flip else 1
    flops = passes * VAE_FLOPS * sum(size.area for size in sizes) / len(sizes)
    seconds = flops / (kind.tflops(cfg.store.compute) * 1e12 * VAE_SHARE)
    return (
        f"{about(images * seconds / 3600)} GPU hours for latents in {cfg.store.compute}, at {VAE_SHARE:.0%} of the "
        f"peak (assumed); {cores}"
    )


def _ways(stated: StatedConfig, gpus: int) -> Iterator[tuple[float | None, str]]:
    if stated.days is not None:
        yield stated.days * 24 * gpus, f"{stated.days:g} days on {gpus}"
    if stated.gpu_hours is not None:
        yield stated.gpu_hours, "as published"


def _verdict(read: Reading) -> str:
    recomputed = f" ({read.share:.0%} with what is recomputed)" if read.share > read.mfu * 1.01 else ""
    judged = (
        "plausible" if read.is_likely else f"unlikely: nothing published of such a network is above {LIKELY_MFU:.0%}"
    )
    return f"{read.mfu:.0%} MFU{recomputed}, {judged}"
