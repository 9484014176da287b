"""The disk that the steps of a recipe take, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from animetune.curate.config import CurateConfig
from animetune.export.config import ExportConfig
from animetune.merge.config import MergeConfig
from animetune.models.rehearsal import meta_models
from animetune.plan import disk
from animetune.plan.run import architecture_of
from animetune.progress import bytes_text
from animetune.recipe.config import Recipe, Step
from animetune.recipe.plan_facts import TrainFacts, images_of, shard_sizes_of, table_rows, writer_of
from animetune.shards.config import LabelsConfig, ShardConfig

SDXL_PARAMETERS = 2_567_463_684 + 123_060_480 + 694_659_840
"""Of UNet, CLIP-L and CLIP-G."""


@dataclass(frozen=True)
class Taken:
    """What a step leaves on disk."""

    step: str
    what: str
    bytes: float | None
    """None where the number of pictures is not known."""
    place: str
    """Where it lies: a folder or a URL."""
    images: int | None = None
    """Pictures that this was worked out for."""


def disk_taken(recipe: Recipe, trainings: Sequence[TrainFacts], *, assume_images: int | None) -> list[Taken]:
    """Of every step that leaves more than a few megabytes."""
    by_name = {facts.step.name: facts for facts in trainings}
    found = []
    for step in recipe.steps:
        match step.cfg:
            case CurateConfig() | LabelsConfig() | ShardConfig():
                images = assume_images or _images(recipe, step)
                what, each = _of_pictures(recipe, step, images)
                found.append(Taken(step.name, what, each, step.writes, images))
            case ExportConfig() | MergeConfig():
                count = disk.weights_bytes(
                    SDXL_PARAMETERS,
                    formats=len(step.cfg.formats),
                    dtype=step.cfg.dtype,
                    vae_dtype=step.cfg.vae_dtype,
                )
                what = f"{' and '.join(step.cfg.formats)}, {step.cfg.dtype}".replace("_", " ")
                found.append(Taken(step.name, what, count, step.writes))
            case _ if step.name in by_name:
                found.append(_of_run(by_name[step.name]))
            case _:
                pass
    return found


def original_bytes(images: int) -> float:
    """Of the posts' files, which stay where they are and are not ours."""
    return images * disk.ORIGINAL


def checkpoint_text(facts: TrainFacts) -> str:
    """What one checkpoint of a run holds."""
    parts = _checkpoint(facts)
    held = " + ".join(f"{name} {bytes_text(count)}" for name, count in parts.items() if count)
    return f"{bytes_text(sum(parts.values()))} = {held}"


def _of_run(facts: TrainFacts) -> Taken:
    each = sum(_checkpoint(facts).values())
    kept = facts.cfg.checkpoints.keep + 1
    if facts.epoch is not None:
        kept = disk.checkpoints_kept(facts.cfg, steps=facts.steps, epochs=facts.epochs)
    what = f"checkpoints: {kept} x {bytes_text(each)} ({facts.cfg.checkpoints.keep} kept and the one being written)"
    if facts.cfg.checkpoints.keep_every:
        what = f"checkpoints: up to {kept} x {bytes_text(each)}"
    return Taken(facts.step.name, what, kept * each, facts.step.writes)


def _checkpoint(facts: TrainFacts) -> dict[str, int]:
    return disk.checkpoint_parts(facts.cfg, meta_models(architecture_of(facts.cfg), facts.cfg.model))


def _of_pictures(recipe: Recipe, step: Step, images: int | None) -> tuple[str, float | None]:
    cfg = step.cfg
    if isinstance(cfg, ShardConfig):
        sizes = [size for _, size in shard_sizes_of(cfg)]
        copies = len(cfg.sizes.all_tiers) if cfg.sizes.assign == "every" else 1
        kind = cfg.store.format if cfg.store.name == "pixels" else cfg.store.dtype
        each = disk.shard_bytes(cfg, sizes, 1) * copies
        what = f"shards of {cfg.store.name} ({kind}), {bytes_text(each)} a picture"
        return what, None if images is None else each * images
    if isinstance(cfg, LabelsConfig):
        captions = _has_captions(writer_of(recipe, str(cfg.table)))
        return "labels", None if images is None else disk.label_bytes(images, captions=captions)
    return "table", None if images is None else disk.table_bytes(images, captions=_has_captions(step))


def _images(recipe: Recipe, step: Step) -> int | None:
    """Pictures that a step writes: those of the table where it is there, else what the trainings are stated to have."""
    cfg = step.cfg
    table = cfg.table if isinstance(cfg, ShardConfig | LabelsConfig) else step.writes
    if (rows := table_rows(table)) is not None:
        return rows
    if not isinstance(cfg, CurateConfig):
        return images_of(recipe, step.writes)
    made = [
        count
        for each in recipe.steps
        if isinstance(each.cfg, ShardConfig | LabelsConfig) and str(each.cfg.table) == step.writes
        if (count := images_of(recipe, each.writes))
    ]
    return max(made, default=None)


def _has_captions(step: Step | None) -> bool:
    cfg = None if step is None else step.cfg
    return isinstance(cfg, CurateConfig) and (cfg.captions is not None or any(each.captions for each in cfg.sources))
