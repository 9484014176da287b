"""Which of equal and related pictures are kept."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel

Equality = Literal["md5", "pixel_hash", "pixel_md5"]
Measure = Literal["area", "bytes", "score", "favourites", "newest", "oldest"]


class DedupConfig(StrictModel):
    """Which of equal and related pictures are kept."""

    by: tuple[Equality, ...] = ("md5", "pixel_hash", "pixel_md5")
    """What makes two pictures duplicates. `md5` and `pixel_hash` are those that the posts state: known before any
    picture is opened, so only one of the duplicates is (should its file turn out to be missing or damaged, the others
    are not called back). `pixel_md5` is of the decoded pixels. Pictures that only look alike are left alone."""
    best: tuple[Measure, ...] = ("area", "score")
    """Which one is kept: the first measure decides, the next among equals, last the lowest source and id. Unknown is
    lowest. Pictures on an include list go before all others."""
    union_tags: bool = False
    """Whether the one that is kept takes the tags of its duplicates (but people counts). Every picture is opened then,
    whatever `by` says."""
    family_limit: Annotated[int, pydantic.Field(ge=1)] | None = None
    """At most so many pictures of a family of parents and children, the best ones; null for all. Others are dropped as
    `family_limit`; pictures on an include list stay."""

    @pydantic.field_validator("by", "best")
    @classmethod
    def _once_each(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError(f"names one thing twice: {', '.join(names)}")
        return names
