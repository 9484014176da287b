"""What is dropped: one model a kind of filter. `name` says the kind, `reason` what its drops are counted as.

Where what a filter looks at is unknown (null) it drops nothing, unless it says `unknown: drop`; filters by class have
null in `keep` instead.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

import pydantic

from animetune.curate.config.filter_model import RESERVED_REASONS, FilterModel, KnownFilter, RangeFilter
from animetune.curate.config.rule_filter import RuleFilter
from animetune.curate.config.tag_filters import (
    BannedArtistsFilter,
    ExcludeTagsFilter,
    RequireTagsFilter,
    TooFewTagsFilter,
)

Positive = Annotated[float, pydantic.Field(gt=0)]
Pixels = Annotated[int, pydantic.Field(gt=0)]
Classes = Annotated[tuple[str | None, ...], pydantic.Field(min_length=1)]
Rating = Literal["g", "s", "q", "e"]
Extension = Annotated[str, pydantic.AfterValidator(lambda text: normal_extension(text))]


def normal_extension(text: str) -> str:
    """Lower case without a dot. ValueError where nothing is left."""
    extension = text.strip().lower().removeprefix(".")
    if not extension:
        raise ValueError(f"{text!r} is no extension; write e.g. jpg")
    return extension


class SourceFilter(FilterModel):
    """Drop posts of other sources."""

    name: Literal["source"]
    keep: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    """Names of sources that stay."""


class RatingFilter(FilterModel):
    """Drop posts of other ratings."""

    name: Literal["rating"]
    keep: Annotated[tuple[Rating | None, ...], pydantic.Field(min_length=1)]
    """Ratings that stay; null stands for posts without one."""


class ScoreFilter(RangeFilter):
    """Drop posts by their score at the source, in votes."""

    name: Literal["score"]


class FavouritesFilter(RangeFilter):
    """Drop posts by the number of users who have them among their favourites."""

    name: Literal["favourites"]


class AestheticScoreFilter(RangeFilter):
    """Drop posts by the score of a model that the source brings along."""

    name: Literal["aesthetic_score"]


class DatesFilter(KnownFilter):
    """Drop posts that were uploaded earlier or later (UTC)."""

    name: Literal["dates"]
    first: datetime.date | None = None
    """First day that stays, as 2021-01-31; null for no limit."""
    last: datetime.date | None = None
    """Last day that stays; null for no limit."""

    @pydantic.field_validator("first", "last", mode="before")
    @classmethod
    def _is_written_out(cls, value: Any) -> Any:
        if isinstance(value, int | float):  # pydantic would take it for seconds since 1970
            raise ValueError(f"should be a day, as 2021-01-31, not {value}")
        return value

    @pydantic.model_validator(mode="after")
    def _has_room(self) -> DatesFilter:
        if self.first is None and self.last is None:
            raise ValueError("sets no limit: give first, last or both")
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ValueError(f"first {self.first} is after last {self.last}: nothing would stay")
        return self


class MinSideFilter(KnownFilter):
    """Drop pictures whose shorter side is shorter."""

    name: Literal["min_side"]
    pixels: Pixels
    """The shortest side that stays."""


class MaxSideFilter(KnownFilter):
    """Drop pictures whose longer side is longer."""

    name: Literal["max_side"]
    pixels: Pixels
    """The longest side that stays."""


class MegapixelsFilter(KnownFilter):
    """Drop pictures with a smaller or larger area."""

    name: Literal["megapixels"]
    min: Annotated[float, pydantic.Field(ge=0)] = 0.0
    """The smallest area that stays, in millions of pixels."""
    max: Positive = 64.0
    """The largest area that stays, in millions of pixels."""

    @pydantic.model_validator(mode="after")
    def _has_room(self) -> MegapixelsFilter:
        if self.min >= self.max:
            raise ValueError(f"min {self.min} is not below max {self.max}: nothing would stay")
        return self


class AspectRatioFilter(KnownFilter):
    """Drop pictures that are longer than `max` times their width, or wider than `max` times their height."""

    name: Literal["aspect_ratio"]
    max: Annotated[float, pydantic.Field(ge=1)]
    """Longer side / shorter side."""


class BytesPerPixelFilter(RangeFilter):
    """Drop files by size over area: few bytes a pixel are heavy compression, or hardly anything drawn.

    Before decoding by the size that the post states, afterwards by the file itself: a copy that was encoded anew has
    another size than the original.
    """

    name: Literal["bytes_per_pixel"]


class ExtensionFilter(KnownFilter):
    """Drop posts whose stated extension is another, before their files are read."""

    name: Literal["extension"]
    keep: Annotated[tuple[Extension, ...], pydantic.Field(min_length=1)]
    """Extensions that stay, such as jpg; upper case or a dot before it make no other."""


class DeletedFilter(FilterModel):
    """Drop posts that their site deleted, banned, or has not approved yet."""

    name: Literal["deleted"]


class QualityFilter(FilterModel):
    """Drop pictures of other quality classes; decided after the classes are known."""

    name: Literal["quality"]
    keep: Classes
    """Classes that stay; null stands for pictures without one."""


class AestheticFilter(FilterModel):
    """Drop pictures of other aesthetic classes; decided after the classes are known."""

    name: Literal["aesthetic"]
    keep: Classes
    """Classes that stay; null stands for pictures without one."""


class YearFilter(FilterModel):
    """Drop pictures of other year classes; decided after the classes are known."""

    name: Literal["year"]
    keep: Classes
    """Classes that stay; null stands for pictures without one."""


Filter = Annotated[
    SourceFilter
    | RatingFilter
    | ScoreFilter
    | FavouritesFilter
    | AestheticScoreFilter
    | DatesFilter
    | MinSideFilter
    | MaxSideFilter
    | MegapixelsFilter
    | AspectRatioFilter
    | BytesPerPixelFilter
    | ExtensionFilter
    | DeletedFilter
    | ExcludeTagsFilter
    | RequireTagsFilter
    | BannedArtistsFilter
    | TooFewTagsFilter
    | QualityFilter
    | AestheticFilter
    | YearFilter
    | RuleFilter,
    pydantic.Field(discriminator="name"),
]


def _distinct_reasons(filters: tuple[Filter, ...]) -> tuple[Filter, ...]:
    reasons = [item.drop_reason for item in filters]
    for number, reason in enumerate(reasons):
        if reason in RESERVED_REASONS:
            raise ValueError(f"filter {number}: the reason {reason!r} is that of another step; give another `reason`")
        if reason in reasons[:number]:
            first = reasons.index(reason)
            raise ValueError(f"filters {first} and {number} both drop as {reason!r}; give one of them its own `reason`")
    return filters


Filters = Annotated[tuple[Filter, ...], pydantic.AfterValidator(_distinct_reasons)]
"""Filters whose drops can be told apart."""


def check_names(filters: Sequence[Filter], known: Mapping[str, Collection[str]]) -> None:
    """Raise ValueError for sources and classes in `keep` that do not exist; `known` is filter -> names."""
    for number, item in enumerate(filters):
        names = known.get(item.name)
        kept = getattr(item, "keep", ())
        for name in kept if names is not None else ():
            if name is not None and name not in (names or ()):
                close = difflib.get_close_matches(name, list(names or ()), n=1)
                meant = f", did you mean {close[0]!r}?" if close else ""
                listed = f"there are {', '.join(names)}" if names else f"there are none: set classes.{item.name}"
                raise ValueError(f"filters.{number}: {item.name}: keep: there is no {name!r}; {listed}{meant}")
