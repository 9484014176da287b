"""`animetune plan CONFIG` of a shard configuration: which sizes the pictures of a table get. Opens no picture."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from animetune import tables
from animetune.plan.text import bar, section
from animetune.progress import bytes_text
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
    yield f"{placed.height:,} samples: {splits}"
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
        yield f"tier {tier}: {samples:,} samples of {group.height} sizes, about {bytes_text(count)} in {parts:,} parts"


def _warnings(cfg: ShardConfig, rows: pl.DataFrame, samples: pl.DataFrame, sizes: pl.DataFrame) -> Iterator[str]:
    if cfg.sizes.min_pictures:
        before = choose_sizes(rows, _with_min_pictures(cfg, 0))
        yield f"sizes.min_pictures {cfg.sizes.min_pictures} {_merged(before, samples)}"
    few = sizes.filter(pl.col("train") < FEW)
    if few.height:
        names = [f"{tier}/{width}x{height} ({train})" for tier, width, height, train, *_ in few.iter_rows()]
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        after = choose_sizes(rows, _with_min_pictures(cfg, FEW))
        yield f"fewer than {FEW} training pictures: {shown}"
        yield "a micro-batch holds pictures of one size, so these few meet each other again and again, or repeat in one"
        yield f"`sizes.min_pictures: {FEW}` {_merged(samples, after, would=True)}"


def _with_min_pictures(cfg: ShardConfig, least: int) -> ShardConfig:
    return cfg.model_copy(update={"sizes": cfg.sizes.model_copy(update={"min_pictures": least})})


def _merged(before: pl.DataFrame, after: pl.DataFrame, *, would: bool = False) -> str:
    """What became of the sizes and samples of `before`."""
    given_up = before.select(_SIZE).unique().drop_nulls().join(after.select(_SIZE).unique(), on=_SIZE, how="anti")
    placed = after.filter(pl.col("tier").is_not_null())
    moved = before.filter(pl.col("tier").is_not_null()).join(placed, on=["row", *_SIZE], how="anti")
    lost = moved.join(placed, on="row", how="anti").height
    verb = "would give up" if would else "gave up"
    too_small = f"; {lost:,} of them would be enlarged too much and are left out" if lost else ""
    return f"{verb} {given_up.height} sizes: {moved.height:,} pictures go to the next nearest{too_small}"
