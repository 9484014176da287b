"""The step `classes`: quality, aesthetic and year classes. Classes, not words: prompts render `best` as they like."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from animetune.curate import filters
from animetune.curate.config.classes import ClassesConfig, QualityLevel, YearClass
from animetune.curate.config.filters import Filter
from animetune.curate.steps import Outcome


def classify(rows: pl.DataFrame, cfg: ClassesConfig, class_filters: Sequence[Filter]) -> Outcome:
    """Add `quality`, `year` and `aesthetic`, and drop the classes that a filter drops."""
    measure = pl.col("score") if cfg.quality.measure == "score" else percentile("score", within="rating")
    rows = rows.with_columns(
        quality=level(measure, cfg.quality.levels),
        year=year_class(cfg.years),
        aesthetic=pl.lit(None, dtype=pl.String),  # no scorer has seen the pictures yet
        style_class=pl.lit(None, dtype=pl.String),
    )
    return filters.apply(rows, class_filters, "classes")


def percentile(column: str, *, within: str) -> pl.Expr:
    """Percentile of each value among those with an equal `within`: 100 (r - 1/2) / n (Hazen 1914).

    r is the rank from 1; equal values have their mean rank, null has no percentile and is not counted in n. A single
    value is at 50, not at the top.
    """
    rank = pl.col(column).rank("average").over(within)
    return 100 * (rank - 0.5) / pl.col(column).count().over(within)


def level(measure: pl.Expr, levels: Sequence[QualityLevel]) -> pl.Expr:
    """The first level whose `above` is less than the measure; null where the measure is null."""
    held = [
        pl.when((measure > item.above) if item.above is not None else measure.is_not_null()).then(pl.lit(item.name))
        for item in levels
    ]
    return pl.coalesce(*held, pl.lit(None, dtype=pl.String))


def year_class(years: Sequence[YearClass]) -> pl.Expr:
    """The class that holds the year of upload in UTC; null for none."""
    year = pl.col("created_at").dt.year()
    held = [
        pl.when((year >= item.first) & (year <= item.last if item.last is not None else True)).then(pl.lit(item.name))
        for item in years
    ]
    return pl.coalesce(*held, pl.lit(None, dtype=pl.String))
