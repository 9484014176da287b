"""`animetune plan CONFIG` of a shard configuration: which sizes the pictures of a table get. Opens no picture."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from animetune import tables
from animetune.plan.text import bar, counted, section
from animetune.progress import bytes_text, first_of
from animetune.records import Size
from animetune.shards.config import ShardConfig
from animetune.shards.run import choose_sizes, part_count, read_rows
from animetune.shards.write import bytes_per_sample
from animetune.shardset import SPLITS

FEW = 64
"""Training pictures of a size that the plan warns below: they fill a few micro-batches, always with the same ones."""

_SIZE = ["tier", "target_width", "target_height"]


def describe(cfg: ShardConfig) -> str:
    """The report. Raises DataError when the table cannot be read."""
    rows = read_rows(tables.open_table(cfg.table))
    samples = _measured(choose_sizes(rows, cfg))
    placed = samples.filter(pl.col("tier").is_not_null())
    sizes = _by_size(placed)
    lines = [
        *section("pictures", _picture_lines(cfg, rows.height, placed)),
        *section("sizes", _size_lines(sizes)),
        *section("shards", _shard_lines(cfg, sizes)),
        *section("warnings", _warnings(cfg, rows, samples, sizes)),
    ]
    return "\n".join(lines)


def _measured(samples: pl.DataFrame) -> pl.DataFrame:
    """With `cropped`, the share of the picture that is cut off, and `scale`, the factor that it is resized by."""
    across = pl.col("target_width") / pl.col("width")
    down = pl.col("target_height") / pl.col("height")
    scale = pl.max_horizontal(across, down)
    return samples.with_columns(scale=scale, cropped=1 - pl.min_horizontal(across, down) / scale)


def _by_size(placed: pl.DataFrame) -> pl.DataFrame:
    """One line for each tier and size, in the root's order: the samples of each split and the mean of `cropped`."""
    counts = [(pl.col("split") == split).sum().alias(split) for split in SPLITS]
    return placed.group_by(_SIZE).agg(*counts, pl.col("cropped").mean()).sort(_SIZE)


def _picture_lines(cfg: ShardConfig, pictures: int, placed: pl.DataFrame) -> Iterator[str]:
    dropped = pictures - placed["row"].n_unique()
    splits = ", ".join(f"{(placed['split'] == split).sum():,} {split}" for split in SPLITS)
    yield f"{pictures:,} in {cfg.table}"
    yield f"{counted(placed.height, 'sample')}: {splits}"
    yield f"{dropped:,} too small: they would be enlarged by more than {cfg.max_upscale:g} (`max_upscale`)"
    if placed.height:
        cropped = placed.select(pl.col("cropped").mean()).item()
        yield f"{(placed['scale'] > 1).sum():,} of the samples are enlarged"
        yield f"{cropped:.1%} of a picture is cropped away on average"


def _size_lines(sizes: pl.DataFrame) -> Iterator[str]:
    total, most = sizes.select(pl.col("train").sum(), pl.col("train").max().alias("most")).row(0)
    yield f"{'tier':>6} {'size':>10} {'train':>10} {'val':>7} {'share':>7} {'cropped':>8}"
    for tier, width, height, train, val, cropped in sizes.iter_rows():
        share = train / total if total else 0.0
        name = Size(width, height).name
        yield f"{tier:>6} {name:>10} {train:>10,} {val:>7,} {share:>7.1%} {cropped:>8.1%}  {bar(train, most)}".rstrip()


def _shard_lines(cfg: ShardConfig, sizes: pl.DataFrame) -> Iterator[str]:
    for (tier,), group in sizes.group_by("tier", maintain_order=True):
        samples = count = parts = 0
        for _, width, height, *splits, _ in group.iter_rows():
            size = Size(width, height)
            samples += sum(splits)
            count += sum(splits) * bytes_per_sample(size, cfg.store, margin=cfg.crop.margin)
            parts += sum(part_count(size, each, cfg) for each in splits)
        held = f"{counted(samples, 'sample')} of {counted(group.height, 'size')}"
        yield f"tier {tier}: {held}, about {bytes_text(count)} in {counted(parts, 'part')}"


def _warnings(cfg: ShardConfig, rows: pl.DataFrame, samples: pl.DataFrame, sizes: pl.DataFrame) -> Iterator[str]:
    if not sizes.height:
        yield "no picture gets a size, so that nothing can be trained: choose smaller `sizes`, or raise `max_upscale`"
    elif not sizes["train"].sum():
        yield "none of the samples is for training: the table's `split` says val for all of them"
    least = cfg.sizes.min_pictures
    if least > 1:
        if merged := _merged(choose_sizes(rows, _with_min_pictures(cfg, 0)), samples):
            yield f"`sizes.min_pictures: {least}` gave up {merged}"
        if (staying := sizes.filter(pl.col("train") < least)).height:
            yield f"fewer than `sizes.min_pictures: {least}`: {_named(staying)}"
            yield "a size stays where one of its pictures has no other, and so that every tier has one"
    few = sizes.filter(pl.col("train").is_between(1, FEW - 1))
    if few.height:
        yield f"fewer than {FEW} training pictures: {_named(few)}"
        yield "a micro-batch holds pictures of one size, so these few meet each other again and again, or repeat in one"
        if merged := _merged(samples, choose_sizes(rows, _with_min_pictures(cfg, FEW))):
            yield f"`sizes.min_pictures: {FEW}` would give up {merged}"


def _named(sizes: pl.DataFrame) -> str:
    return first_of([f"{tier}/{width}x{height} ({train})" for tier, width, height, train, *_ in sizes.iter_rows()])


def _with_min_pictures(cfg: ShardConfig, least: int) -> ShardConfig:
    return cfg.model_copy(update={"sizes": cfg.sizes.model_copy(update={"min_pictures": least})})


def _merged(before: pl.DataFrame, after: pl.DataFrame) -> str:
    """The sizes of `before` that `after` has no more, and what became of their samples; empty if it has them all."""
    before, after = (samples.filter(pl.col("tier").is_not_null()) for samples in (before, after))
    given_up = before.select(_SIZE).unique().join(after.select(_SIZE), on=_SIZE, how="anti").height
    if not given_up:
        return ""
    moved = before.join(after, on=["row", *_SIZE], how="anti")
    down = moved.join(after, on=["row", "tier"], how="anti").height
    lower = f", {down:,} of them in a lower tier" if down else ""
    return f"{counted(given_up, 'size')}: {counted(moved.height, 'picture')} to the next nearest{lower}"
