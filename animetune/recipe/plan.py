"""`animetune plan recipe.yaml`: what a whole recipe will do and take, worked out before any of it runs."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence

from animetune.errors import ConfigError
from animetune.plan import disk
from animetune.plan.costs import SLACK
from animetune.plan.gpus import DEFAULT_GPU, GPU_KINDS, GpuKind, gpu_kind
from animetune.plan.run import FEW_PICTURES, guards
from animetune.plan.text import about, aligned, section
from animetune.progress import bytes_text
from animetune.recipe.config import load_recipe
from animetune.recipe.plan_disk import Taken, checkpoint_text, disk_taken, original_bytes
from animetune.recipe.plan_facts import TrainFacts, training_facts, work_out_costs
from animetune.recipe.plan_hours import Hours, data_lines, hours_of, stated_lines
from animetune.tokens import CHUNK_BODY

UNKNOWN = "?"


def describe(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    assume_images: int | None = None,
    price: float | None = None,
    gpu: str | None = None,
    share: float | None = None,
) -> str:
    """The report; loads no weights, and opens shards only where they are on this machine.

    `assume_images`: pictures of every training step. `price`: of a GPU hour. `gpu`: a kind of `GPU_KINDS`; else the one
    that the recipe states, else an H100. `share`: of its peak that training gets, 0 to 1, in place of the kind's own.
    Raises ConfigError for what is wrong in the files or options.
    """
    if assume_images is not None and assume_images < 1:
        raise ConfigError(f"plan: --assume-images {assume_images}: is no number of pictures; give one from 1")
    if share is not None and not 0 < share <= 1:
        raise ConfigError(f"plan: --share {share:g}: is no part of a GPU's peak; give one above 0, up to 1, as 0.3")
    recipe = load_recipe(path, overrides)
    try:
        kind = gpu_kind(gpu or recipe.cfg.stated.gpu or DEFAULT_GPU)
    except ValueError as error:
        raise ConfigError(f"plan: --gpu: {error}") from error
    trainings = training_facts(recipe, assume_images=assume_images)
    work_out_costs(trainings)
    hours = [hours_of(facts, kind, share=share, asked=gpu is not None) for facts in trainings]
    taken = disk_taken(recipe, trainings, assume_images=assume_images)
    lines = [
        f"{recipe.cfg.title}: {recipe.cfg.about}",
        f"source: {recipe.cfg.source}; it ran on {recipe.cfg.hardware}",
        "",
        *section("steps", [" -> ".join(step.name for step in recipe.steps)]),
        *section("training", _training_lines(trainings)),
        *section("learning rates", _rate_lines(trainings)),
        *section("prompts", _token_lines(trainings)),
        *section("disk", _disk_lines(taken)),
        *section("memory: the largest micro-batch that a GPU holds", _memory_lines(trainings)),
        *section(f"time of training on {kind.title}", _hour_lines(trainings, hours, price)),
        *section(
            "time before training, roughly",
            data_lines(recipe, kind, images={each.step: each.images for each in taken if each.images}),
        ),
        *section("the published hours", stated_lines(recipe.cfg.stated, trainings)),
        *section("warnings", _warnings(trainings)),
        *section("assumptions", _assumptions(trainings, hours, kind, share)),
    ]
    return "\n".join(lines).rstrip("\n")


def _training_lines(trainings: Sequence[TrainFacts]) -> Iterator[str]:
    rows = [("step", "pictures", "known by", "epochs", "steps", "a step", "seen in all", "devices", "trains")]
    for facts in trainings:
        parts = " + ".join(_short(part) for part in facts.cfg.model.trained)
        batches = "/".join(map(str, facts.cfg.data.global_batches.values()))
        counts = [UNKNOWN] * 4
        if facts.epoch is not None:
            counts = [f"{facts.images:,}", f"{facts.epochs:.4g}", f"{facts.steps:,}", f"{facts.seen:,}"]
        images, epochs, steps, seen = counts
        rows.append(
            (facts.step.name, images, facts.images_from, epochs, steps, batches, seen, str(facts.devices), parts)
        )
    yield from aligned(rows)
    if any(facts.epoch is None for facts in trainings):
        yield (
            f"{UNKNOWN}: nobody says how many pictures; give --assume-images N, or `stated: {{images: {{STEP: N}}}}` "
            "in the recipe"
        )


def _rate_lines(trainings: Sequence[TrainFacts]) -> Iterator[str]:
    rows = [("step", "part", "configured", "first step", "last step", "schedule")]
    for facts in trainings:
        for part in facts.cfg.model.trained:
            rate, ends = facts.cfg.optimizer.lr_of(part), (UNKNOWN, UNKNOWN)
            if facts.epoch is not None:
                schedule = facts.cfg.schedule_on(facts.epoch.calendar)
                first, last = (schedule.learning_rate(rate, step) for step in (0, facts.steps - 1))
                ends = (f"{first:.3g}", f"{last:.3g}")
            schedule_name = f"{facts.cfg.schedule.name}, warm-up {facts.cfg.schedule.warmup}"
            rows.append((facts.step.name, _short(part), f"{rate:g}", *ends, schedule_name))
    yield from aligned(rows)


def _token_lines(trainings: Sequence[TrainFacts]) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for facts in trainings:
        chunks, tokens = facts.cfg.data.chunks, facts.tokens
        text = f"{chunks} chunk{'s' * (chunks > 1)}, {chunks * CHUNK_BODY} tokens; "
        if tokens is None:
            text += "how many prompts are longer is known once there are labels"
        else:
            text += (
                f"of {tokens.prompts:,} prompts {tokens.cut:.1%} are cut; median {tokens.median}, longest "
                f"{tokens.longest}"
            )
        found.setdefault(text, []).append(facts.step.name)
    yield from (f"{', '.join(names)}: {text}" for text, names in found.items())


def _disk_lines(taken: Sequence[Taken]) -> Iterator[str]:
    rows = [("step", "what", "bytes")]
    rows += [(each.step, each.what, UNKNOWN if each.bytes is None else bytes_text(each.bytes)) for each in taken]
    known = sum(each.bytes for each in taken if each.bytes is not None)
    whole = all(each.bytes is not None for each in taken)
    rows.append(("in all", "" if whole else "what is known", bytes_text(known)))
    yield from aligned(rows)


def _memory_lines(trainings: Sequence[TrainFacts]) -> Iterator[str]:
    rows = [("step", "configured", "needs", *(kind.name for kind in GPU_KINDS.values()))]
    for facts in trainings:
        batch = facts.cfg.data.capacity(facts.largest.tier)
        needed = facts.costs.memory.needed(batch)
        fits = [facts.costs.memory.largest(kind.memory) for kind in GPU_KINDS.values()]
        cells = ("-" if not most else f"{most}{'' if most >= batch else ' !'}" for most in fits)
        rows.append((facts.step.name, f"{batch} x {facts.largest.size.name}", bytes_text(needed), *cells))
    yield from aligned(rows)
    for facts in trainings:
        model, optimizer = facts.cfg.model, facts.cfg.optimizer
        where = ", stepped in the backward pass" if optimizer.in_backward else ""
        yield (
            f"{facts.step.name}: {model.dtype}, {optimizer.name} with {optimizer.rounding} rounding{where}, "
            f"recomputes {model.activation_checkpointing}"
        )
    yield "- not even one picture; ! less than configured: lower data.micro_batch, the global batch stays"


def _hour_lines(trainings: Sequence[TrainFacts], hours: Sequence[Hours], price: float | None) -> Iterator[str]:
    cost = () if price is None else ("cost",)
    rows = [("step", "TFLOP/picture", "executed", "pictures/s a GPU", "rate is", "GPU hours", "GPUs", "wall", *cost)]
    for facts, each in zip(trainings, hours, strict=True):
        wanted = each.gpu_hours
        spent = () if price is None else (UNKNOWN if wanted is None else about(wanted * price),)
        rows.append(
            (
                facts.step.name,
                f"{facts.flops / 1e12:.2f}",
                f"{facts.executed / 1e12:.2f}",
                about(each.rate),
                each.basis,
                UNKNOWN if wanted is None else about(wanted),
                str(facts.devices),
                UNKNOWN if wanted is None else wall(wanted / facts.devices),
                *spent,
            )
        )
    if len(rows) > 2:
        known = [
            (each.gpu_hours, facts.devices) for facts, each in zip(trainings, hours, strict=True) if each.gpu_hours
        ]
        total = sum(count for count, _ in known)
        spent = () if price is None else (about(total * price),)
        rows.append(("in all", "", "", "", "", about(total), "", wall(sum(c / d for c, d in known)), *spent))
    yield from aligned(rows)


def wall(hours: float) -> str:
    """A wall time: `40 min`, `17 h`, `15 days`."""
    if hours < 1:
        return f"{about(hours * 60)} min"
    return f"{about(hours)} h" if hours < 72 else f"{about(hours / 24)} days"


def _warnings(trainings: Sequence[TrainFacts]) -> Iterator[str]:
    outputs = {facts.step.writes for facts in trainings}
    for facts in trainings:
        yield from (f"{facts.step.name}: {warning}" for warning in _warnings_of(facts, outputs))


def _warnings_of(facts: TrainFacts, outputs: Container[str]) -> Iterator[str]:
    model = facts.cfg.model
    yield from guards(facts.cfg, FEW_PICTURES if facts.images is None else facts.images)
    if not (model.train_text_encoder or model.train_text_encoder_2) and model.base in outputs:
        yield f"tunes the UNet alone on pictures that may be a selection; keep and export {model.base}, too"
    passes = facts.cfg.data.micro_batches
    if passes % facts.devices:
        yield (
            f"a step of {facts.cfg.data.global_batch} in micro-batches of {facts.cfg.data.micro_batch} does not divide "
            f"over {facts.devices} devices, which training refuses: change one of them, or the launch"
        )


def _assumptions(
    trainings: Sequence[TrainFacts], hours: Sequence[Hours], kind: GpuKind, share: float | None
) -> Iterator[str]:
    if any(each.basis == "assumed" for each in hours):
        part = kind.share if share is None else share
        by = "by its measured rate once its run has some" if share is None else "as asked for"
        yield f"training gets {part:.0%} of the peak of {kind.bf16_tflops:g} teraFLOP/s (docs/plan.md says why); {by}"
    yield "hours are of the steps alone, without compilation, previews, validation, checkpoints; GPUs scale perfectly"
    yield f"memory: with {SLACK - 1:.0%} for the allocator and 1 GB for CUDA, and as if nothing were sharded (fsdp)"
    if any(facts.images_from != "shards" for facts in trainings):
        yield "sizes: all that the shard step lists, equally often, in its highest tier; each picture once an epoch"
    yield (
        f"a picture takes {bytes_text(disk.TABLE_ROW)} in a table with its steps, {bytes_text(disk.LABEL_ROW)} in "
        f"labels, {bytes_text(disk.CAPTIONS)} more for captions; jpeg, webp and png in shards 0.45, 0.3 and 1.5 bytes "
        "a pixel"
    )
    most = max((facts.images or 0 for facts in trainings), default=0)
    if most:
        yield (
            f"the posts' own files stay where they are and are not counted: about {bytes_text(original_bytes(most))} "
            f"for {most:,} pictures of {bytes_text(disk.ORIGINAL)}"
        )
    for facts in trainings[:1]:
        yield f"a checkpoint of {facts.step.name}: {checkpoint_text(facts)}"


def _short(part: str) -> str:
    return {"unet": "UNet", "text_encoder": "CLIP-L", "text_encoder_2": "CLIP-G"}[part]
