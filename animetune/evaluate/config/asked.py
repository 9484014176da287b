"""What all probes share: their prompts, seeds, sizes and thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pydantic

from animetune.config import StrictModel
from animetune.records import PIXELS_PER_CELL, Size

Count = Annotated[int, pydantic.Field(ge=1)]
Threshold = Annotated[float, pydantic.Field(gt=0, lt=1)]
Seeds = Annotated[tuple[Annotated[int, pydantic.Field(ge=0)], ...], pydantic.Field(min_length=1)]
SMALLEST_SIDE = 64


def _is_size(text: str) -> str:
    try:
        size = Size.parse(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no size; write <width>x<height>, as 832x1216") from error
    if min(size) < SMALLEST_SIDE or any(side % PIXELS_PER_CELL for side in size):
        raise ValueError(f"{text}: sides should be multiples of {PIXELS_PER_CELL} and at least {SMALLEST_SIDE}")
    return size.name


SizeName = Annotated[str, pydantic.AfterValidator(_is_size)]
Sizes = Annotated[tuple[SizeName, ...], pydantic.Field(min_length=1)]


class AskedProbe(StrictModel):
    """What every probe has."""

    prompts: Path | None = None
    """File of more prompts, or of all with `replace`: JSON lines, or text with one prompt a line where a prompt is all
    that this probe needs. docs/evaluate.md has the fields."""
    replace: bool = False
    """Ask only what `prompts` holds."""
    limit: Count | None = None
    """Ask so many of the prompts, taken evenly from the list; for a quick look."""
    seeds: Seeds | None = None
    """Every prompt is drawn with every seed; null: those of the stage."""
    sizes: Sizes | None = None
    """Every prompt is drawn at every size; null: those of the stage."""

    @pydantic.model_validator(mode="after")
    def _replaces_by_something(self) -> AskedProbe:
        if self.replace and self.prompts is None:
            raise ValueError("replace: needs `prompts`, the file to ask from")
        return self

    @property
    def tag_thresholds(self) -> dict[str, float]:
        """Setting -> the probability from which a tag counts; the tagger has to keep all from there."""
        return {}


class TaggedProbe(AskedProbe):
    """A probe that reads tags."""

    threshold: Threshold = 0.35
    """A tag is there when the tagger finds it at least so likely."""

    @property
    def tag_thresholds(self) -> dict[str, float]:
        """See `AskedProbe`."""
        return {"threshold": self.threshold}
