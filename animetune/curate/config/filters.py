"""What is dropped before anything is weighed."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel

Positive = Annotated[float, pydantic.Field(gt=0)]
Tags = Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
Rating = Literal["g", "s", "q", "e"]


class RatingFilter(StrictModel):
    """Drop posts of other ratings."""

    name: Literal["rating"]
    keep: Annotated[tuple[Rating | None, ...], pydantic.Field(min_length=1)]
    """Ratings that stay; null stands for posts without one."""


class ScoreFilter(StrictModel):
    """Drop posts with a lower score; a post without a score stays."""

    name: Literal["score_min"]
    score: int
    """The lowest score that stays."""


class SideFilter(StrictModel):
    """Drop pictures whose shorter side is shorter."""

    name: Literal["min_side"]
    pixels: Annotated[int, pydantic.Field(gt=0)]
    """The shortest side that stays."""


class MegapixelsFilter(StrictModel):
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


class AspectRatioFilter(StrictModel):
    """Drop pictures that are longer than `max` times their width, or wider than `max` times their height."""

    name: Literal["aspect_ratio"]
    max: Annotated[float, pydantic.Field(ge=1)]
    """Longer side / shorter side."""


class ExtensionFilter(StrictModel):
    """Drop posts whose stated extension is another, before their files are read; without one, a post stays."""

    name: Literal["extension"]
    keep: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    """Extensions that stay, in lower case without a dot."""


class DeletedFilter(StrictModel):
    """Drop posts that their site deleted, banned, or has not approved yet."""

    name: Literal["deleted"]


class ExcludeTagsFilter(StrictModel):
    """Drop posts that have any of the tags, of whatever class."""

    name: Literal["exclude_tags"]
    tags: Tags
    """Tags as on the site."""


class RequireTagsFilter(StrictModel):
    """Drop posts that have none of the tags."""

    name: Literal["require_tags"]
    tags: Tags
    """Tags as on the site."""


class QualityFilter(StrictModel):
    """Drop pictures of other quality classes; decided after the classes are known."""

    name: Literal["quality"]
    keep: Annotated[tuple[str | None, ...], pydantic.Field(min_length=1)]
    """Classes that stay; null stands for pictures without one."""


Filter = Annotated[
    RatingFilter
    | ScoreFilter
    | SideFilter
    | MegapixelsFilter
    | AspectRatioFilter
    | ExtensionFilter
    | DeletedFilter
    | ExcludeTagsFilter
    | RequireTagsFilter
    | QualityFilter,
    pydantic.Field(discriminator="name"),
]
