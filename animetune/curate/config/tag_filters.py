"""Filters that look at lists of tags.

Tags are compared in lower case with `_` between words, and `*` stands for any text: no tag of a booru has one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.curate.config.filter_model import FilterModel
from animetune.curate.tag.tag_names import NamedTag

Number = Annotated[int, pydantic.Field(ge=0)]


class TagsFilter(FilterModel):
    """A filter by named tags, of whatever class."""

    tags: tuple[NamedTag, ...] = ()
    """Tags as on the site; `*` stands for any text, as in `*_(cosplay)`."""
    file: Path | None = None
    """File of further tags, a line each; a line that begins with `# ` is a comment."""
    match: Literal["any", "all"] = "any"
    """Whether one of the tags is enough, or all have to be there."""
    after: Literal["ingest", "tags", "classes"] = "ingest"  # type: ignore[assignment]
    """Which tags are looked at: those that the source has, before any picture is opened; or those that the step `tags`
    made of them (aliases replaced, noise removed, size tags recomputed), as `classes` does too, when all classes are
    decided, so that what is dropped still counts in percentiles."""

    @pydantic.model_validator(mode="after")
    def _has_tags(self) -> TagsFilter:
        if not self.tags and self.file is None:
            raise ValueError("names no tags: give tags or a file of them")
        return self


class ExcludeTagsFilter(TagsFilter):
    """Drop posts that have any of the tags (`match: all`: that have them all)."""

    name: Literal["exclude_tags"]


class RequireTagsFilter(TagsFilter):
    """Drop posts that have none of the tags (`match: all`: that lack any)."""

    name: Literal["require_tags"]


class BannedArtistsFilter(FilterModel):
    """Drop posts of artists who want no copies, and those that the site tagged `banned_artist`.

    Sources without classes of tags have artists among the general tags, so a name is looked for in every class.
    """

    name: Literal["banned_artists"]
    artists: tuple[NamedTag, ...] = ()
    """Artist tags as on the site; `*` stands for any text."""
    file: Path | None = None
    """File of further artist tags, a line each; a line that begins with `# ` is a comment."""


class TooFewTagsFilter(FilterModel):
    """Drop pictures with too few general tags for the people that they show: nobody described them.

    Looks at the tags that the step `tags` leaves, so people counts, noise and repeated meaning do not count.
    """

    name: Literal["too_few_tags"]
    min: Number = 0
    """The fewest general tags of a picture without people, or without tags that state how many there are."""
    per_person: Number = 0
    """How many more it needs for each person."""

    @pydantic.model_validator(mode="after")
    def _asks_for_some(self) -> TooFewTagsFilter:
        if not self.min and not self.per_person:
            raise ValueError("asks for no tags: give min, per_person or both")
        return self
