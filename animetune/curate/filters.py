"""Filters: which rows are dropped, each under the name of the filter that dropped it.

A filter is a Polars expression that is true for the rows it drops; where what it looks at is unknown (null) it drops
nothing, unless its own docstring says so. Filters run as soon as what they look at is known: those on posts before any
picture is opened, those on sizes again after decoding, when the true size is known (a post's stated size is used
before only to save the decoding), those on classes after the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl

from animetune.curate.config.filters import (
    AspectRatioFilter,
    DeletedFilter,
    ExcludeTagsFilter,
    ExtensionFilter,
    Filter,
    MegapixelsFilter,
    QualityFilter,
    RatingFilter,
    RequireTagsFilter,
    ScoreFilter,
    SideFilter,
)
from animetune.curate.posts import TAG_CLASSES
from animetune.curate.steps import Outcome

Phase = Literal["post", "picture", "classes"]

ALL_TAGS = pl.concat_list(f"tags_{name}" for name in TAG_CLASSES)
"""The tags of all classes, before the step `tags`."""


def apply(rows: pl.DataFrame, filters: Sequence[Filter], phase: Phase) -> Outcome:
    """Drop what the filters of this phase drop; the first that does gives the reason."""
    known = [(item.name, drops(item, phase)) for item in filters if phase in phases(item)]
    reasons = [pl.when(drop.fill_null(value=False)).then(pl.lit(name)) for name, drop in known]
    rows = rows.with_columns(reason=pl.coalesce(*reasons, pl.lit(None, dtype=pl.String)))
    return Outcome(
        kept=rows.filter(pl.col("reason").is_null()).drop("reason"),
        dropped=rows.filter(pl.col("reason").is_not_null()).select("key", "reason"),
    )


def phases(item: Filter) -> tuple[Phase, ...]:
    """When a filter runs."""
    if isinstance(item, SideFilter | MegapixelsFilter | AspectRatioFilter):
        return ("post", "picture")
    return ("classes",) if isinstance(item, QualityFilter) else ("post",)


def drops(item: Filter, phase: Phase = "post") -> pl.Expr:
    """True for the rows that the filter drops."""
    prefix = "post_" if phase == "post" else ""
    width, height = pl.col(f"{prefix}width"), pl.col(f"{prefix}height")
    match item:
        case RatingFilter(keep=keep):
            return is_other("rating", keep)
        case ScoreFilter(score=score):
            return pl.col("score") < score
        case SideFilter(pixels=pixels):
            return pl.min_horizontal(width, height) < pixels
        case MegapixelsFilter(min=low, max=high):
            return ~(width.cast(pl.Int64) * height).is_between(low * 1e6, high * 1e6)
        case AspectRatioFilter(max=ratio):
            return pl.max_horizontal(width, height) > ratio * pl.min_horizontal(width, height)
        case ExtensionFilter(keep=keep):
            return ~pl.col("file_ext").is_in(keep)
        case DeletedFilter():
            return pl.col("is_deleted")
        case ExcludeTagsFilter(tags=tags):
            return has_any(tags)
        case RequireTagsFilter(tags=tags):
            return ~has_any(tags)
        case QualityFilter(keep=keep):
            return is_other("quality", keep)


def is_other(column: str, keep: Sequence[str | None]) -> pl.Expr:
    """The value is not in `keep`, where None stands for null."""
    known = ~pl.col(column).is_in([value for value in keep if value is not None])
    return pl.when(pl.col(column).is_null()).then(None not in keep).otherwise(known)


def has_any(tags: Sequence[str], among: pl.Expr = ALL_TAGS) -> pl.Expr:
    """The list `among` holds at least one of `tags`."""
    return among.list.eval(pl.element().is_in(list(tags))).list.any()
