"""What is known of the training steps of a recipe before any of them ran: pictures, lengths, costs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from animetune.buckets import enumerate_sizes
from animetune.data.config import DataConfig
from animetune.data.source import SizeClass
from animetune.errors import AnimetuneError, DataError
from animetune.manifest import Manifest, has_manifest, read_manifest
from animetune.plan.costs import TrainingCosts, mean_flops, same_costs, training_costs
from animetune.plan.hours import MeasuredRate, launched_devices, measured_rate
from animetune.plan.run import NINE_SIZES, EpochFacts, architecture_of, assumed_epoch, read_epoch
from animetune.plan.tokens import TokenFacts, token_facts
from animetune.progress import track
from animetune.recipe.config import Recipe, Step
from animetune.records import Size
from animetune.remote import is_remote
from animetune.shards.config import LabelsConfig, ShardConfig
from animetune.train.config import TrainConfig


@dataclass(frozen=True)
class TrainFacts:
    """A training step. What depends on the number of pictures is None while that is not known."""

    step: Step
    cfg: TrainConfig
    images: int | None
    images_from: str
    """Where that number is from; where there is none, what was looked for."""
    epoch: EpochFacts | None
    sizes: tuple[SizeClass, ...]
    devices: int
    measured: MeasuredRate | None
    tokens: TokenFacts | None
    pixels: bool
    known: dict[str, TrainingCosts] = field(repr=False, compare=False)
    """Costs that are worked out already, of any step: half a minute each."""

    @functools.cached_property
    def costs(self) -> TrainingCosts:
        """Of its micro-batches, rehearsed when first asked for."""
        key = same_costs(self.cfg, self.largest.size, pixels=self.pixels, devices=self.devices)
        if key not in self.known:
            self.known[key] = training_costs(
                self.cfg, architecture_of(self.cfg), self.largest.size, pixels=self.pixels, devices=self.devices
            )
        return self.known[key]

    @functools.cached_property
    def flops(self) -> float:
        """The model's, of a picture, on average over the sizes."""
        counted = [(line.size, line.samples) for line in self.epoch.classes if line.samples] if self.epoch else []
        return mean_flops(self.costs, counted or [(size, 1.0) for _, size in self.sizes])

    @property
    def executed(self) -> float:
        """FLOPs of a picture with what is recomputed."""
        return self.flops * self.costs.recomputed

    @property
    def largest(self) -> SizeClass:
        """The size whose micro-batch takes most."""
        return max(self.sizes, key=lambda each: self.cfg.data.capacity(each.tier) * each.size.area)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run; needs `epoch`."""
        assert self.epoch is not None
        return self.cfg.total_steps(self.epoch.calendar)

    @property
    def epochs(self) -> float:
        """Needs `epoch`."""
        assert self.epoch is not None
        return self.epoch.calendar.epochs_at(self.steps)

    @property
    def seen(self) -> int:
        """Pictures that the run trains on, each as often as it comes; needs `epoch`."""
        assert self.epoch is not None
        return round(self.epochs * sum(line.samples for line in self.epoch.classes))


def training_facts(recipe: Recipe, *, assume_images: int | None) -> list[TrainFacts]:
    """Of all training steps, in order."""
    known: dict[str, TrainingCosts] = {}
    steps = [step for step in recipe.steps if isinstance(step.cfg, TrainConfig)]
    return [_facts(recipe, step, known, assume_images) for step in steps]


def work_out_costs(trainings: Sequence[TrainFacts]) -> None:
    """Rehearse all steps now, with a progress display; costs that are equal are worked out once."""
    with track("working out what training costs", total=len(trainings)) as progress:
        for facts in trainings:
            assert facts.costs
            progress.advance()


def shard_sizes_of(cfg: ShardConfig) -> tuple[SizeClass, ...]:
    """The sizes that pictures are taken to have: those of the highest tier, or of all where each gets its copies.

    A tier without a list is taken to be all squares of its area, nearly.
    """
    tiers = cfg.sizes.all_tiers if cfg.sizes.assign == "every" else cfg.sizes.all_tiers[-1:]
    return tuple(
        SizeClass(tier.name, size)
        for tier in tiers
        for size in enumerate_sizes(tier) or (Size(*[round(tier.area**0.5 / tier.step) * tier.step] * 2),)
    )


def table_rows(folder: str | Path) -> int | None:
    """Rows of a published table or label set on this machine; None where there is none."""
    manifest = _manifest_at(folder)
    return None if manifest is None else manifest.kept


def images_of(recipe: Recipe, place: str) -> int | None:
    """The most pictures that any training step has from a folder, by what the recipe states."""
    counts = [
        count
        for step in recipe.steps
        if isinstance(step.cfg, TrainConfig) and (count := recipe.cfg.stated.images.get(step.name))
        if place in _places_of(step.cfg.data)
    ]
    return max(counts, default=None)


def writer_of(recipe: Recipe, place: str) -> Step | None:
    """The step that publishes a folder."""
    return next((step for step in recipe.steps if step.writes.rstrip("/") == place.rstrip("/")), None)


def _facts(recipe: Recipe, step: Step, known: dict[str, TrainingCosts], assume_images: int | None) -> TrainFacts:
    cfg = step.cfg
    assert isinstance(cfg, TrainConfig)
    sizes, pixels = _sizes_of(recipe, cfg.data)
    epoch, images_from = _epoch(recipe, step, sizes, pixels, assume_images)
    tokens = None
    if epoch is not None and epoch.usage is not None:
        sizes = tuple(SizeClass(line.tier, line.size) for line in epoch.classes if line.samples)
        tokens, pixels = token_facts(cfg), epoch.pixels
    devices = launched_devices(recipe.cfg.launch, cfg.loop) or recipe.cfg.stated.gpus or 1
    return TrainFacts(
        step=step,
        cfg=cfg,
        images=sum(line.rows for line in epoch.classes) if epoch else None,
        images_from=images_from,
        epoch=epoch,
        sizes=sizes,
        devices=devices,
        measured=measured_rate(Path(cfg.run)),
        tokens=tokens,
        pixels=pixels,
        known=known,
    )


def _epoch(
    recipe: Recipe, step: Step, sizes: tuple[SizeClass, ...], pixels: bool, assume_images: int | None
) -> tuple[EpochFacts | None, str]:
    cfg = step.cfg
    assert isinstance(cfg, TrainConfig)
    if assume_images is not None:
        return assumed_epoch(cfg, assume_images, sizes, pixels=pixels), "assumed"
    places = _places_of(cfg.data)
    if not any(is_remote(place) for place in places) and all(has_manifest(place) for place in places):
        try:
            return read_epoch(cfg), "shards"
        except AnimetuneError as error:
            raise type(error)(f"{step.path}: {error}") from error
    if stated := recipe.cfg.stated.images.get(step.name):
        return assumed_epoch(cfg, stated, sizes, pixels=pixels), "stated"
    if counted := sum(_rows_behind(recipe, cfg.data)):
        return assumed_epoch(cfg, counted, sizes, pixels=pixels), "table"
    return None, "unknown"


def _rows_behind(recipe: Recipe, data: DataConfig) -> Iterator[int]:
    """Rows of the tables that the label sets will be made from; a filter of the labels may leave fewer."""
    for source in data.all_sources:
        labels = writer_of(recipe, source.labels)
        if labels is not None and isinstance(labels.cfg, LabelsConfig):
            yield table_rows(labels.cfg.table) or 0


def _sizes_of(recipe: Recipe, data: DataConfig) -> tuple[tuple[SizeClass, ...], bool]:
    """The sizes of what is trained on, and whether it is pixels, by the steps that make it."""
    found: list[SizeClass] = []
    pixels = False
    for source in data.all_sources:
        shards = writer_of(recipe, source.shards)
        if shards is not None and isinstance(shards.cfg, ShardConfig):
            found += [each for each in shard_sizes_of(shards.cfg) if each not in found]
            pixels |= shards.cfg.store.name == "pixels"
    return tuple(found) or NINE_SIZES, pixels


def _places_of(data: DataConfig) -> list[str]:
    return [place for source in data.all_sources for place in (source.shards, source.labels)]


def _manifest_at(folder: str | Path) -> Manifest | None:
    if is_remote(str(folder)) or not has_manifest(folder):
        return None
    try:
        return read_manifest(folder)
    except DataError:
        return None
