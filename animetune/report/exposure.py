"""`animetune exposure CONFIG`: how often each picture, tag and class is or will be seen, counted from the epoch plan.

    labels, plan of every epoch  --read_exposure-->  Exposure  --describe--> text
                                                               --write-->    pictures, classes, tags .parquet

No log is read: the plan is a function of labels, settings and seed, so what training has seen can be recomputed, and
what it will see is known before it starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import xxhash

from animetune import config, fsio, tables
from animetune.data.epoch_plan import PlanSpec, plan_epoch
from animetune.data.source import Source, open_data, plan_spec, size_classes
from animetune.errors import ConfigError, DataError
from animetune.manifest import Manifest, check_place, read_manifest, record_files, write_manifest
from animetune.records import LABEL_COLUMNS
from animetune.train.config import TrainConfig

KIND = "exposure"
FORMAT = 1

CLASSES = ("content_bucket", "quality", "aesthetic", "rating", "year", "source", "tier")
"""What samples are counted by."""
TAG_COLUMNS = tuple(column.name for column in LABEL_COLUMNS if column.name.startswith("tags_"))
BLOCK = 1 << 18
"""Samples whose tags are counted at a time, which bounds the memory."""
SHOWN = 12
"""Tags shown of the most and of the least seen."""
NO_CLASS = "(none)"
BAR = 30
"""Characters of the longest bar."""


@dataclass(frozen=True)
class Exposure:
    """Counts over the first `steps` optimizer steps of a run. A sample is a picture in one tier."""

    run: str
    steps: int
    epochs: float
    """The same length in epochs."""
    pictures: pl.DataFrame
    """One row a sample of the training split, in the order of the plan: key, source, tier, repeats, seen."""
    classes: pl.DataFrame
    """kind (of `CLASSES`), name, samples that are ever drawn, seen; by kind, the most seen first."""
    tags: pl.DataFrame
    """kind (general, character ...), tag, samples that are ever drawn, seen; the most seen first."""
    config_digest: str
    inputs: dict[str, str]
    """Digests of shards and labels."""


def read_exposure(
    cfg: TrainConfig, *, epochs: float | None = None, steps: int | None = None, so_far: bool = False
) -> Exposure:
    """Count from the start of a run to so many epochs or steps, or to its newest checkpoint; by default, to its end.

    Raises ConfigError when more than one length is given, or one that is no number from 0, DataError when there is no
    checkpoint, or when it was made with other data than `cfg` names.
    """
    if sum([epochs is not None, steps is not None, so_far]) > 1:
        raise ConfigError("exposure: give the length once: --epochs, --steps or --so-far")
    for option, length in (("--epochs", epochs), ("--steps", steps)):
        if length is not None and not 0 <= length < math.inf:
            raise ConfigError(f"exposure: {option} {length}: is no length; give a number from 0")
    sources = open_data(cfg.data)
    spec = plan_spec(cfg.data, sources, seed=cfg.seed)
    if so_far:
        steps = _newest_step(cfg, spec)
    elif epochs is not None:
        steps = spec.calendar.step_of(epochs)
    elif steps is None:
        steps = cfg.total_steps(spec.calendar)
    pictures = _pictures(sources, spec, count_rows(spec, steps))
    inputs: dict[str, str] = {}
    for place, source in enumerate(sources):
        inputs |= {f"shards.{place}": source.root.digest, f"labels.{place}": source.labels.digest}
    return Exposure(
        run=cfg.run,
        steps=steps,
        epochs=spec.calendar.epochs_at(steps),
        pictures=pictures,
        classes=_count_classes(sources, pictures),
        tags=_count_tags(sources, pictures),
        config_digest=config.digest(cfg),
        inputs=inputs,
    )


def count_rows(spec: PlanSpec, steps: int) -> np.ndarray:
    """int64 (rows,): how often each row of the plan comes in the first `steps` optimizer steps of a run."""
    counts = np.zeros(len(spec.repeats) + 1, np.int64)
    last, within = spec.calendar.position(steps)
    for epoch in range(last + (within > 0)):
        rows = plan_epoch(spec, epoch).rows[: within if epoch == last else None]
        counts += np.bincount(rows.ravel() + 1, minlength=len(counts))  # NO_ROW is counted at 0
    return counts[1:]


def describe(exposure: Exposure) -> str:
    """The counts as text for a terminal."""
    sections = {
        f"{exposure.run}, step 0 to {exposure.steps:,} = {exposure.epochs:.2f} epochs": _picture_lines(
            exposure.pictures
        ),
        **{kind: _class_lines(classes) for kind in CLASSES if (classes := _named(exposure.classes, kind)).height},
        **_tag_sections(exposure.tags),
    }
    lines = []
    for title, found in sections.items():
        lines += [f"{title}:", *(f"    {line}" for line in found), ""]
    return "\n".join(lines)


def write(exposure: Exposure, out: Path) -> Manifest:
    """Write pictures.parquet, classes.parquet and tags.parquet to a folder, and its manifest last.

    Raises ConfigError when the folder holds anything but an exposure.
    """
    check_place(out, KIND, setting="--out")
    with fsio.lock(out):
        frames = {"pictures": exposure.pictures, "classes": exposure.classes, "tags": exposure.tags}
        names = [f"{name}.parquet" for name in frames]
        for name, frame in zip(names, frames.values(), strict=True):
            with fsio.atomic_file(out / name) as temporary:
                tables.write_parquet(frame, temporary)
        manifest = Manifest(
            kind=KIND,
            format_version=FORMAT,
            config_digest=exposure.config_digest,
            inputs=exposure.inputs,
            facts={"steps": exposure.steps, "epochs": round(exposure.epochs, 6)},
            files=record_files(out, names),
        )
        return write_manifest(out, manifest)


def repeats_digest(spec: PlanSpec) -> str:
    """Of the repeats of all rows, as checkpoints hold it."""
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(spec.repeats).tobytes())


def _newest_step(cfg: TrainConfig, spec: PlanSpec) -> int:
    """Optimizer steps of the newest checkpoint, whose data must be that of `cfg`."""
    from animetune import checkpoint

    found = checkpoint.steps(Path(cfg.run, "checkpoints"))
    if not found:
        raise DataError(f"{cfg.run}: has no checkpoint; leave out --so-far to count what is planned")
    facts = read_manifest(found[-1], kind="checkpoint", format_version=checkpoint.CHECKPOINT_FORMAT).facts
    then, now = (
        {name: value for name, value in identity.items() if name == "seed" or name.startswith("data.")}
        for identity in (facts["identity"], config.identity(cfg))
    )
    then["repeats"], now["repeats"] = facts["data"]["repeats"], repeats_digest(spec)
    changed = [f"{name}: {then.get(name)!r} then, {now.get(name)!r} now" for name in now if then.get(name) != now[name]]
    if changed:
        raise DataError(
            f"{found[-1]}: was trained with other data, so its samples are not those of this configuration:\n  "
            + "\n  ".join(changed)
            + f"\nuse {cfg.run}/config.yaml, and the labels of that time"
        )
    return int(facts["step"])


def _pictures(sources: Sequence[Source], spec: PlanSpec, seen: np.ndarray) -> pl.DataFrame:
    tiers = np.array([each.tier for each in size_classes(sources)])[spec.group_classes]
    keys = [pl.Series("key", source.labels.column("key").slice(0, len(source.rows))) for source in sources]
    return pl.DataFrame(
        {
            "key": pl.concat(keys),
            "tier": pl.Series(tiers).gather(np.repeat(np.arange(len(tiers)), np.diff(spec.group_starts))),
            "repeats": spec.repeats,
            "seen": seen,
        }
    ).select("key", pl.col("key").str.split("/").list.first().alias("source"), "tier", "repeats", "seen")


def _count_classes(sources: Sequence[Source], pictures: pl.DataFrame) -> pl.DataFrame:
    counted = []
    for kind in CLASSES:
        if kind in pictures.columns:
            names = pictures[kind]
        else:
            columns = [source.labels.column(kind).slice(0, len(source.rows)) for source in sources]
            names = pl.concat([pl.Series(column).cast(pl.String) for column in columns])
        counted.append(_sums(pictures.select(names.alias("name"), "repeats", "seen"), "name", kind))
    return pl.concat(counted)


def _count_tags(sources: Sequence[Source], pictures: pl.DataFrame) -> pl.DataFrame:
    counted = []
    for column in TAG_COLUMNS:
        kind = column.removeprefix("tags_")
        parts = []
        for source in sources:
            values = source.labels.column(column)
            for first in range(0, len(source.rows), BLOCK):
                length = min(BLOCK, len(source.rows) - first)
                block = pictures.slice(source.rows.start + first, length).select(
                    pl.Series("tag", values.slice(first, length)), "repeats", "seen"
                )
                parts.append(_sums(block.explode("tag").drop_nulls("tag"), "tag", kind))
        counted.append(pl.concat(parts).group_by("kind", "tag").sum())
    return pl.concat(counted).sort("seen", "samples", "kind", "tag", descending=[True, True, False, False])


def _sums(samples: pl.DataFrame, name: str, kind: str) -> pl.DataFrame:
    """Samples that are ever drawn, and how often they are seen, by `name`; integers, so that no order changes them."""
    return (
        samples.group_by(name)
        .agg(samples=(pl.col("repeats") > 0).sum().cast(pl.Int64), seen=pl.col("seen").sum())
        .sort("seen", "samples", name, descending=[True, True, False])
        .select(pl.lit(kind).alias("kind"), name, "samples", "seen")
    )


def _picture_lines(pictures: pl.DataFrame) -> Iterator[str]:
    """Of pictures, in whatever tiers they are."""
    by_key = pictures.group_by("key").agg(drawn=(pl.col("repeats") > 0).any(), seen=pl.col("seen").sum())
    drawn = by_key.filter("drawn")["seen"].to_numpy()
    never = np.count_nonzero(drawn == 0)
    yield f"{drawn.sum():,} samples seen of {len(drawn):,} pictures; {by_key.height - len(drawn):,} more have repeats 0"
    quantiles = {"min": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "max": 1.0}
    counts = [f"{name} {np.quantile(drawn, place, method='nearest'):,}" for name, place in quantiles.items()]
    yield f"how often each: {', '.join(counts)}; mean {drawn.mean():.2f}"
    yield f"never, though their repeats are not 0: {never:,} pictures ({never / len(drawn):.1%})"


def _named(classes: pl.DataFrame, kind: str) -> pl.DataFrame:
    """The lines of a kind; none when no sample has a class of this kind."""
    found = classes.filter(kind=kind)
    return found if found["name"].count() else found.clear()


def _class_lines(classes: pl.DataFrame) -> Iterator[str]:
    most = max(1, classes["seen"].max())  # type: ignore[type-var]
    for _, name, samples, seen in classes.iter_rows():
        each = f"{seen / samples:>8.2f} each" if samples else f"{'-':>13}"
        bar = "#" * round(BAR * seen / most)
        yield f"{name or NO_CLASS:<22} {seen:>12,} seen {samples:>11,} samples {each}  {bar}".rstrip()


def _tag_sections(tags: pl.DataFrame) -> dict[str, Iterator[str]]:
    drawn = tags.filter(pl.col("samples") > 0)
    unseen = drawn.filter(seen=0).height
    return {
        f"most seen of {drawn.height:,} tags": _tag_lines(drawn.head(SHOWN)),
        f"least seen, {unseen:,} of them never": _tag_lines(drawn.tail(SHOWN).reverse()),
    }


def _tag_lines(tags: pl.DataFrame) -> Iterator[str]:
    for kind, tag, samples, seen in tags.iter_rows():
        yield f"{seen:>12,} seen {samples:>11,} samples  {tag} ({kind})"
