"""What all filters have in common."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel

Phase = Literal["post", "picture", "tags", "classes", "content"]
"""When a filter runs: as soon as the step of that name has decided what the filter looks at."""
Reason = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][a-z0-9_+.-]{0,63}$")]

RESERVED_REASONS = ("takedown", "duplicate", "family_limit", "unassigned", "fitted")
"""Reasons that other steps give."""


class FilterModel(StrictModel):
    """A filter."""

    name: str
    """The kind of filter."""
    reason: Reason | None = None
    """What dropped rows are counted as; null for the name. Two filters of one kind need different ones."""
    after: Literal["classes"] | None = None
    """Null: the filter runs as soon as what it looks at is known. `classes`: when all classes are decided, so that what
    it drops still counts in percentiles. A second stage's stricter filters then leave the classes of the first as they
    were."""

    @property
    def drop_reason(self) -> str:
        """The reason that stands beside a dropped row."""
        return self.reason or self.name


class KnownFilter(FilterModel):
    """A filter of a value that may be unknown."""

    unknown: Literal["keep", "drop"] = "keep"
    """What becomes of rows of which the value is not known; of a picture's size and bytes, not known once it has been
    opened."""


class RangeFilter(KnownFilter):
    """Drop what lies below `min` or above `max`."""

    min: Annotated[float, pydantic.Field(allow_inf_nan=False)] | None = None
    """The lowest value that stays; null for no limit."""
    max: Annotated[float, pydantic.Field(allow_inf_nan=False)] | None = None
    """The highest value that stays; null for no limit."""

    @pydantic.model_validator(mode="after")
    def _has_room(self) -> RangeFilter:
        if self.min is None and self.max is None:
            raise ValueError("sets no limit: give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: nothing would stay")
        return self
