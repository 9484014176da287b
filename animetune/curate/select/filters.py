"""Filters: which rows are dropped, each under the reason of the filter that dropped it.

A filter is a Polars expression: true for the rows it drops, null where what it looks at is unknown, and then it drops
nothing unless it says so. Filters run as soon as what they look at is known: those on posts before any picture is
opened, those on sizes again after decoding, when the true size is known (a post's stated size is used before only to
save the decoding), those on tags after the step `tags`, those on classes after the classes.

Rows on an include list (`is_included`) pass every filter; so do rows on a takedown list (`is_taken_down`), which the
step `dedup` drops together with their copies.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from typing import Any, assert_never

import polars as pl

from animetune.curate.config.filter_model import KnownFilter, Phase, RangeFilter
from animetune.curate.config.filters import (
    AestheticFilter,
    AestheticScoreFilter,
    AspectRatioFilter,
    BytesPerPixelFilter,
    DatesFilter,
    DeletedFilter,
    ExtensionFilter,
    FavouritesFilter,
    Filter,
    MaxSideFilter,
    MegapixelsFilter,
    MinSideFilter,
    QualityFilter,
    RatingFilter,
    ScoreFilter,
    SourceFilter,
    YearFilter,
)
from animetune.curate.config.rule_filter import COLUMN_PHASE, RuleFilter
from animetune.curate.config.tag_filters import (
    BannedArtistsFilter,
    ExcludeTagsFilter,
    RequireTagsFilter,
    TagsFilter,
    TooFewTagsFilter,
)
from animetune.curate.read.posts import TAG_CLASSES
from animetune.curate.select.lists import INCLUDED, TAKEN_DOWN, PostList, tag_lines
from animetune.curate.steps import Outcome
from animetune.curate.tag.tag_matching import counts, holds, lower

POST_TAGS = tuple(f"tags_{name}" for name in TAG_CLASSES)
"""The lists of tags before the step `tags`."""
SORTED_TAGS = (*POST_TAGS, "tags_count", "tags_special", "tags_implied")
"""The lists of tags after it."""
BANNED = "*banned_artist*"
"""How boorus tag the artists who want no copies."""
MOST_COUNTED = 500
"""Longest list of a filter whose tags are counted one by one."""
WRITES = (INCLUDED, TAKEN_DOWN)
"""What `filter_posts` adds."""


def filter_posts(rows: pl.DataFrame, filters: Sequence[Filter], takedown: PostList, include: PostList) -> Outcome:
    """The step `filters`: add `is_included` and `is_taken_down`, and drop what the filters of posts drop."""
    included, taken_down = include.names(rows), takedown.names(rows)
    marked = rows.with_columns((included & ~taken_down).alias(INCLUDED), taken_down.alias(TAKEN_DOWN))
    outcome = apply(marked, filters, "post")
    found = {"included": int(marked[INCLUDED].sum()), "taken_down": int(taken_down.sum())}
    return Outcome(kept=outcome.kept, dropped=outcome.dropped, facts={**outcome.facts, "lists": found})


def apply(rows: pl.DataFrame, filters: Sequence[Filter], phase: Phase) -> Outcome:
    """Drop what the filters of this phase drop; the first that does gives the reason.

    Facts: reason -> how many rows the filter would drop by itself, of how many it does not know, and how many that it
    would drop were spared by the include list; tag -> how many rows have it, for the tags that filters name.
    """
    running = [item for item in filters if phase in phases(item)]
    if not running:
        return Outcome(kept=rows)
    looked_at = rows
    if phase == "post" and any(isinstance(item, TagsFilter | BannedArtistsFilter) for item in running):
        looked_at = rows.with_columns(lower(POST_TAGS))
    found = looked_at.select(drops(item, phase).alias(item.drop_reason) for item in running)
    drop = found.select(pl.col(item.drop_reason).fill_null(value=_drops_unknown(item, phase)) for item in running)
    passing = _flags(rows, INCLUDED) | _flags(rows, TAKEN_DOWN)
    verdicts = [pl.when(pl.col(name) & ~passing).then(pl.lit(name)) for name in drop.columns]
    reason = drop.select(pl.coalesce(verdicts).alias("reason"))["reason"]
    by_filter = {
        name: {
            "drops": int((drop[name] & ~passing).sum()),
            "spared": int((drop[name] & _flags(rows, INCLUDED)).sum()),
            "unknown": found[name].null_count(),
        }
        for name in drop.columns
    }
    return Outcome(
        kept=rows.filter(reason.is_null()),
        dropped=rows.filter(reason.is_not_null()).select("key", reason=reason.drop_nulls()),
        facts={f"filters_{phase}": by_filter, **_named_tags(looked_at, running, phase)},
    )


def phases(item: Filter) -> tuple[Phase, ...]:
    """When a filter runs."""
    if item.after == "classes":
        return ("content",)
    match item:
        case MinSideFilter() | MaxSideFilter() | MegapixelsFilter() | AspectRatioFilter() | BytesPerPixelFilter():
            return ("post", "picture")
        case TagsFilter(after="tags") | TooFewTagsFilter():
            return ("tags",)
        case QualityFilter() | AestheticFilter() | YearFilter():
            return ("classes",)
        case RuleFilter(column=column):
            return (COLUMN_PHASE[column],)
        case _:
            return ("post",)


def reads(filters: Sequence[Filter], phase: Phase, made: Collection[str] = ()) -> tuple[str, ...]:
    """The columns, beside `key`, that `apply` needs in this phase; but `made`, which the step itself makes."""
    running = [item for item in filters if phase in phases(item)]
    names = {name for item in running for name in drops(item, phase).meta.root_names()}
    marks = set() if phase == "post" or not running else {INCLUDED}
    return tuple(sorted((names | marks) - set(made)))


def reads_of_posts(filters: Sequence[Filter], takedown: PostList, include: PostList) -> tuple[str, ...]:
    """The columns, beside `key`, that `filter_posts` needs."""
    return tuple(sorted({*reads(filters, "post"), *takedown.reads, *include.reads}))


def with_files(filters: Sequence[Filter]) -> tuple[Filter, ...]:
    """The filters with the tags of their files in place of the files. Raises DataError for a file without any."""
    return tuple(_with_file(item) for item in filters)


def drops(item: Filter, phase: Phase = "post") -> pl.Expr:
    """True for the rows that the filter drops, null where it does not know."""
    prefix = "post_" if phase == "post" else ""
    width, height = pl.col(f"{prefix}width"), pl.col(f"{prefix}height")
    area = width.cast(pl.Int64) * height
    match item:
        case SourceFilter(keep=keep):
            return is_other("source", keep)
        case RatingFilter(keep=keep):
            return is_other("rating", keep)
        case ScoreFilter():
            return is_outside(pl.col("score"), item)
        case FavouritesFilter():
            return is_outside(pl.col("fav_count"), item)
        case AestheticScoreFilter():
            return is_outside(pl.col("aesthetic_score"), item)
        case DatesFilter(first=first, last=last):
            return is_outside_days(pl.col("created_at"), first, last)
        case MinSideFilter(pixels=pixels):
            return (width < pixels) | (height < pixels)
        case MaxSideFilter(pixels=pixels):
            return (width > pixels) | (height > pixels)
        case MegapixelsFilter(min=low, max=high):
            return ~area.is_between(low * 1e6, high * 1e6)
        case AspectRatioFilter(max=ratio):
            return (width > ratio * height) | (height > ratio * width)
        case BytesPerPixelFilter():
            return is_outside(pl.col("post_bytes" if phase == "post" else "image_bytes") / area, item)
        case ExtensionFilter(keep=keep):
            return ~pl.col("file_ext").is_in(keep)
        case DeletedFilter():
            return pl.col("is_deleted")
        case ExcludeTagsFilter(tags=tags, match=match, after=after):
            return holds(_lists(after), tags, match)
        case RequireTagsFilter(tags=tags, match=match, after=after):
            return ~holds(_lists(after), tags, match)
        case BannedArtistsFilter(artists=artists):
            banned = holds(["tags_artist"], [BANNED])
            return banned | holds(POST_TAGS, artists) if artists else banned
        case TooFewTagsFilter(min=low, per_person=per_person):
            people = pl.col("n_people").cast(pl.Int64).fill_null(0)  # at least nobody
            return pl.col("tags_general").list.len() < low + per_person * people
        case QualityFilter(keep=keep):
            return is_other("quality", keep)
        case AestheticFilter(keep=keep):
            return is_other("aesthetic", keep)
        case YearFilter(keep=keep):
            return is_other("year", keep)
        case RuleFilter():
            return breaks(item)
        case _:
            assert_never(item)


def is_other(column: str, keep: Sequence[str | None]) -> pl.Expr:
    """The value is not in `keep`, where None stands for null."""
    known = ~pl.col(column).is_in([value for value in keep if value is not None])
    return pl.when(pl.col(column).is_null()).then(None not in keep).otherwise(known)


def is_outside(value: pl.Expr, limits: RangeFilter | RuleFilter) -> pl.Expr:
    """Below `min` or above `max`; NaN is unknown. There is a limit at least."""
    value = value.fill_nan(None)
    beyond = [] if limits.min is None else [value < limits.min]
    return pl.any_horizontal(beyond if limits.max is None else [*beyond, value > limits.max])


def is_outside_days(time: pl.Expr, first: datetime.date | None, last: datetime.date | None) -> pl.Expr:
    """Earlier than the first day, or later than the last (UTC)."""
    beyond = [] if first is None else [time.dt.date() < first]
    return pl.any_horizontal(beyond if last is None else [*beyond, time.dt.date() > last])


def breaks(rule: RuleFilter) -> pl.Expr:
    """True where the column breaks the rule."""
    column = pl.col(rule.column)
    broken = []
    if rule.min is not None or rule.max is not None:
        broken.append(is_outside(column.list.len() if rule.is_of_list else column, rule))
    if rule.any_of is not None:
        broken.append(~_is_one_of(rule, rule.any_of))
    if rule.none_of is not None:
        broken.append(_is_one_of(rule, rule.none_of))
    return pl.any_horizontal(broken)


def _is_one_of(rule: RuleFilter, values: Sequence[Any]) -> pl.Expr:
    """The column is, or holds, one of the values, where None stands for null."""
    column, known = pl.col(rule.column), [value for value in values if value is not None]
    if rule.is_of_list:
        return column.list.eval(pl.element().is_in(known)).list.any()
    is_one = column.is_in(known) if known else pl.when(column.is_not_null()).then(statement=False)
    return is_one.fill_null(value=True) if None in values else is_one


def _drops_unknown(item: Filter, phase: Phase) -> bool:
    """Of a filter that runs twice, only the second time: what a post does not state may be known by then."""
    return isinstance(item, KnownFilter) and item.unknown == "drop" and phase == phases(item)[-1]


def _flags(rows: pl.DataFrame, name: str) -> pl.Series:
    """A column of truth values; false where there is no such column."""
    return rows[name] if name in rows.columns else pl.repeat(value=False, n=rows.height, eager=True)


def _lists(after: str) -> Sequence[str]:
    return POST_TAGS if after == "ingest" else SORTED_TAGS


def _named_tags(rows: pl.DataFrame, filters: Sequence[Filter], phase: Phase) -> dict[str, Any]:
    """How many rows have each tag that a filter names: one that none has may be misspelt."""
    lists = [item.tags for item in filters if isinstance(item, TagsFilter) and len(item.tags) <= MOST_COUNTED]
    named = dict.fromkeys(tag for tags in lists for tag in tags if "*" not in tag)
    if not named:
        return {}
    columns = POST_TAGS if phase == "post" else SORTED_TAGS
    return {f"filter_tags_{phase}": counts(rows, columns, list(named))}


def _with_file(item: Filter) -> Filter:
    if isinstance(item, TagsFilter) and item.file is not None:
        tags = dict.fromkeys([*item.tags, *tag_lines(item.file, f"filters: {item.drop_reason}")])
        return item.model_copy(update={"tags": tuple(tags), "file": None})
    if isinstance(item, BannedArtistsFilter) and item.file is not None:
        artists = dict.fromkeys([*item.artists, *tag_lines(item.file, f"filters: {item.drop_reason}")])
        return item.model_copy(update={"artists": tuple(artists), "file": None})
    return item
