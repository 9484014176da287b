"""Which of equal and related pictures are kept."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel

Equality = Literal["md5", "pixel_hash", "pixel_digest"]
Measure = Literal["area", "bytes", "score", "favourites", "newest", "oldest"]


class LookalikesConfig(StrictModel):
    """Which pictures look alike, and what becomes of them."""

    distance: Annotated[int, pydantic.Field(ge=0, le=15)] = 10
    """Bits of 256 in which the difference hashes of two pictures may differ for them to be compared. More finds more
    copies (docs/filters.md has figures) and takes longer: 10 four times as long as 7, some minutes for millions."""
    apart: tuple[Literal["characters", "content"], ...] = ()
    """What must be tagged alike beside emotion and number of people, which always must: the characters, or all content
    (general tags; posts of different sites seldom agree in those)."""
    structure: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.8
    """Least likeness in structure (SSIM) of any window of 12x12 pixels of the smaller picture."""
    luma: Annotated[float, pydantic.Field(ge=0, le=255)] = 12.0
    """By how many levels the mean brightness of a window may differ."""
    chroma: Annotated[float, pydantic.Field(ge=0, le=255)] = 12.0
    """By how many levels the mean of either colour channel may differ."""
    then: Literal["drop", "join"] = "drop"
    """`drop`: keep the best of each set, others are dropped as `lookalike`. `join`: keep all, as one family, so that
    none is trained on and another validated by."""


class DedupConfig(StrictModel):
    """Which of equal and related pictures are kept."""

    by: tuple[Equality, ...] = ("md5", "pixel_hash", "pixel_digest")
    """What makes two pictures duplicates. `md5` and `pixel_hash` are those that the posts state: known before any
    picture is opened, so only one of the duplicates is (should its file turn out to be missing or damaged, the others
    are not called back). `pixel_digest` is of the decoded pixels."""
    best: tuple[Measure, ...] = ("area", "score")
    """Which one is kept: the first measure decides, the next among equals, last the lowest source and id. Unknown is
    lowest. Pictures on an include list go before all others."""
    union_tags: bool = False
    """Whether the one that is kept takes the tags of its duplicates (but people counts). Every picture is opened then,
    whatever `by` says."""
    family_limit: Annotated[int, pydantic.Field(ge=1)] | None = None
    """At most so many pictures of a family of parents and children, the best ones; null for all. Others are dropped as
    `family_limit`; pictures on an include list stay."""
    lookalikes: LookalikesConfig | None = None
    """Pictures that look alike though their pixels differ: re-encoded and resized copies. Null leaves them alone."""

    @pydantic.field_validator("by", "best")
    @classmethod
    def _once_each(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError(f"names one thing twice: {', '.join(names)}")
        return names
