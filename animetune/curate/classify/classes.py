"""The step `classes`: quality, aesthetic, year and rating. Classes, not words: prompts render `best` as they like.

A whole step on narrow columns. Every source has settings, its own or those of all (`ClassesConfig.of_source`); sources
with the same are classified together.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from animetune.curate.classify.windows import Window, bounds, percentiles
from animetune.curate.config.classes import (
    YEAR,
    ClassesConfig,
    ClassRules,
    Level,
    QualityConfig,
    ScaleConfig,
    YearClass,
)
from animetune.curate.config.filters import Filter
from animetune.curate.select import filters
from animetune.curate.steps import Outcome

READS = ("source", "id", "score", "fav_count", "rating", "created_at", "aesthetic_score", "is_synthetic")
READS_WITH_CLOSEUPS = (*READS, "parent")
WRITES = ("quality", "aesthetic", "year", "rating")

WITHOUT_QUALITY = ("synthetic", "immature", "unscored", "undated")
"""Why a picture has no quality although there are levels: drawn by a model, votes are still coming, no score, or no
time of upload to lay a window around. The first that holds."""
_AT, _YEAR = "_at", "_year"
_YEAR_OF_UPLOAD = pl.col("created_at").dt.year()
_NEWEST = pl.col("created_at").max().over("source")
_IS_SYNTHETIC = pl.col("is_synthetic").fill_null(value=False)


def classify(
    rows: pl.DataFrame, cfg: ClassesConfig, class_filters: Sequence[Filter], *, closeups: bool = False
) -> Outcome:
    """Add `quality`, `aesthetic` and `year`, map `rating`, and drop the classes that a filter drops.

    With `closeups` (READS_WITH_CLOSEUPS) these have the classes of their pictures, and are in no percentile: else
    pictures would count the more often the more is cut from them.
    """
    pictures = rows.filter(~is_closeup()) if closeups else rows
    found = pl.concat([classes_of(own, rules) for own, rules in populations(pictures, cfg)]).sort(_AT)
    if closeups:
        found = (
            rows.select(key=pl.when(is_closeup()).then("parent").otherwise("key"))
            .join(found.with_columns(pictures["key"]), on="key", how="left", maintain_order="left")
            .drop("key")
        )
    rows = rows.with_columns(found.drop(_AT, "without_quality"))
    noted = facts(rows.select("source", "created_at", *WRITES).with_columns(found["without_quality"]), cfg)
    outcome = filters.apply(rows, class_filters, "classes")
    return Outcome(kept=outcome.kept, dropped=outcome.dropped, facts={**outcome.facts, **noted})


def is_closeup() -> pl.Expr:
    """Whether a row is a close-up: its key is that of its picture and a number."""
    return pl.col("key").str.contains(r"/[0-9]+#[0-9]+$")


def populations(rows: pl.DataFrame, cfg: ClassesConfig) -> Iterator[tuple[pl.DataFrame, ClassRules]]:
    """The rows of each source with settings of its own, and of all others; `_at` is their place in `rows`."""
    numbered = rows.select(*READS).with_row_index(_AT)
    yield numbered.filter(~pl.col("source").is_in(list(cfg.sources))), cfg
    for source, rules in cfg.sources.items():
        yield numbered.filter(pl.col("source") == source), rules


def classes_of(rows: pl.DataFrame, rules: ClassRules) -> pl.DataFrame:
    """The classes of the posts of one population: WRITES, `without_quality` (of WITHOUT_QUALITY) and `_at`."""
    scales = {"quality": rules.quality, "aesthetic": rules.aesthetic}
    without = {f"without_{name}": why_without(scale) for name, scale in scales.items()}
    rows = rows.with_columns(pl.col("aesthetic_score").fill_nan(None), _YEAR_OF_UPLOAD.alias(_YEAR))
    rows = rows.with_columns(**without)
    measures = {name: measured(rows, scale, pl.col(f"without_{name}").is_null()) for name, scale in scales.items()}
    rating = {None if key == "none" else key: value for key, value in rules.rating.items()}
    return rows.select(
        _AT,
        "without_quality",
        *(level(pl.lit(measures[name]), scale.levels).alias(name) for name, scale in scales.items()),
        year=year_class(rules.years, pl.col(_YEAR)),
        rating=pl.col("rating").replace(rating) if rating else pl.col("rating"),
    )


def why_without(scale: ScaleConfig) -> pl.Expr:
    """The first of WITHOUT_QUALITY that holds; null for a post that is measured, and where there are no levels."""
    if not scale.levels:
        return pl.lit(None, dtype=pl.String)
    is_votes_or_ranked = scale.measure != "value" or scale.column != "aesthetic_score"
    is_dated = scale.measure != "window" or Window.parse(scale.window).is_of_posts
    holds = {
        "synthetic": _IS_SYNTHETIC & is_votes_or_ranked,
        "immature": is_immature(scale) if isinstance(scale, QualityConfig) else pl.lit(value=False),
        "unscored": pl.col(scale.column).is_null(),
        "undated": pl.col("created_at").is_null() & pl.lit(not is_dated),
    }
    reasons = [pl.when(held).then(pl.lit(reason)) for reason, held in holds.items()]
    return pl.coalesce(*reasons, pl.lit(None, dtype=pl.String))


def is_immature(cfg: QualityConfig) -> pl.Expr:
    """Whether the votes on a post are still coming; false where its time of upload is unknown."""
    young = pl.lit(value=False)
    if cfg.column == "aesthetic_score":
        return young
    if cfg.mature_days is not None:
        young = (pl.col("created_at") > _NEWEST - pl.duration(days=cfg.mature_days)).fill_null(value=False)
    return young | (pl.col("id") > cfg.mature_id if cfg.mature_id is not None else pl.lit(value=False))


def measured(rows: pl.DataFrame, scale: ScaleConfig, eligible: pl.Expr) -> pl.Series:
    """What the levels of a scale are compared with; null for the rows that are not `eligible`."""
    score = pl.when(eligible).then(pl.col(scale.column))
    if not scale.levels:
        return rows.select(score).to_series()
    if scale.measure == "window":
        return moving_percentile(rows.with_columns(value=score), scale)
    ranked = percentile("value", within=scale.within) if scale.measure == "percentile" else pl.col("value")
    return rows.with_columns(value=score).select(ranked).to_series()


def percentile(column: str, *, within: Sequence[str]) -> pl.Expr:
    """Percentile of each value among those with an equal `within`: 100 (r - 1/2) / n (Hazen 1914).

    r is the rank from 1; equal values have their mean rank, null has no percentile and is not counted in n. A single
    value is at 50, not at the top.
    """
    rank, count = pl.col(column).rank("average"), pl.col(column).count()
    if within:
        rank, count = rank.over(*within), count.over(*within)
    return 100 * (rank - 0.5) / count


def moving_percentile(rows: pl.DataFrame, scale: ScaleConfig) -> pl.Series:
    """Percentile of `value` among the posts with an equal `within`, uploaded at about the same time."""
    window = Window.parse(scale.window)
    order = pl.col("id") if window.is_of_posts else pl.col("created_at").dt.epoch("us")
    known = rows.select(*scale.within, "value", order.alias("order")).with_row_index("place")
    known = known.filter(pl.col("value").is_not_null()).sort(*scale.within, "order", "place")
    found = np.full(rows.height, np.nan)
    for start, end in _runs(known, scale.within):
        one = known.slice(start, end - start)
        windows = bounds(one["order"].to_numpy(), window, at_least=scale.min_population)
        found[one["place"].to_numpy()] = percentiles(one["value"].to_numpy(), windows)
    return pl.Series(found).fill_nan(None)


def _runs(rows: pl.DataFrame, columns: Sequence[str]) -> list[tuple[int, int]]:
    """First and last place, the latter not included, of each run of rows that are equal in sorted `columns`."""
    if not columns or not rows.height:
        return [(0, rows.height)] if rows.height else []
    starts = rows.select(pl.struct(*columns).rle_id())
    ends = np.flatnonzero(np.diff(starts.to_series().to_numpy())) + 1
    places = [0, *ends.tolist(), rows.height]
    return list(itertools.pairwise(places))


def level(measure: pl.Expr, levels: Sequence[Level]) -> pl.Expr:
    """The first level whose `above` is less than the measure; null where the measure is null."""
    chosen: Any = pl
    for item in levels:
        holds = measure > item.above if item.above is not None else measure.is_not_null()
        chosen = chosen.when(holds).then(pl.lit(item.name, dtype=pl.String))
    return pl.lit(None, dtype=pl.String) if chosen is pl else chosen.otherwise(None)


def year_class(years: Sequence[YearClass], year: pl.Expr = _YEAR_OF_UPLOAD) -> pl.Expr:
    """The class that holds the year of upload in UTC; null for none."""
    held = [
        pl.when(
            (year >= item.first if item.first is not None else year.is_not_null())
            & (year <= item.last if item.last is not None else pl.lit(value=True))
        ).then(_year_name(item.name, year))
        for item in years
    ]
    return pl.coalesce(*held, pl.lit(None, dtype=pl.String))


def _year_name(name: str, year: pl.Expr) -> pl.Expr:
    pieces = [pl.lit(piece) for piece in name.split(YEAR)]
    joined = [each for piece in pieces for each in (year.cast(pl.String), piece)][1:]
    return pl.concat_str(joined)


def facts(rows: pl.DataFrame, cfg: ClassesConfig) -> dict[str, Any]:
    """`classes`: of each source, the time of its newest post, up to when posts are mature, how often each class occurs,
    and why pictures have no quality; `knowledge_cutoff`: the time of the newest post of all."""
    counts = {name: _counted_by_source(rows, name) for name in (*WRITES, "without_quality")}
    newest = dict(rows.group_by("source").agg(pl.col("created_at").max()).sort("source").iter_rows())
    of_sources = {
        source: {
            "newest": _iso(time),
            "mature_until": _iso(_mature_until(time, cfg.of_source(source).quality)),
            **{name: counts[name].get(source, {}) for name in WRITES},
            "without_quality": {
                reason: count for reason, count in counts["without_quality"][source].items() if reason != "none"
            },
        }
        for source, time in newest.items()
    }
    times = [time for time in newest.values() if time is not None]
    return {"classes": of_sources, "knowledge_cutoff": _iso(max(times, default=None))}


def _counted_by_source(rows: pl.DataFrame, column: str) -> dict[str, dict[str, int]]:
    """Source -> value -> how often it occurs; null counts as `none`."""
    counts = rows.group_by("source", pl.col(column).fill_null("none")).len().sort("source", column)
    found: dict[str, dict[str, int]] = {}
    for source, value, count in counts.iter_rows():
        found.setdefault(source, {})[value] = count
    return found


def _mature_until(newest: datetime.datetime | None, cfg: QualityConfig) -> datetime.datetime | None:
    if newest is None or cfg.mature_days is None:
        return None
    earliest = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    return newest - min(datetime.timedelta(days=cfg.mature_days), newest - earliest)


def _iso(time: datetime.datetime | None) -> str | None:
    return None if time is None else time.isoformat()
