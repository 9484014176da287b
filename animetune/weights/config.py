"""What every writer of finished weights is told: title and licence, the type of the numbers."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel

Dtype = Literal["float16", "bfloat16", "float32"]
Text = Annotated[str, pydantic.Field(min_length=1)]


class AboutConfig(StrictModel):
    """What the single file says of itself (ModelSpec 1.0.1); empty entries are left out."""

    title: Text
    """Name of the model, as user interfaces show it."""
    license: Text
    """Licence of the weights. A base's terms bind its descendants: SDXL 1.0 is CreativeML Open RAIL++-M."""
    author: str = ""
    """Who made it."""
    description: str = ""
    """What it is."""
    date: str = ""
    """Release date, ISO 8601. Left to you, so that two exports of the same weights are equal."""
    usage_hint: str = ""
    """How to prompt it: order of tags, quality words, guidance."""
    tags: tuple[str, ...] = ()
    """Words to find it by."""

    @pydantic.field_validator("date")
    @classmethod
    def _is_a_date(cls, date: str) -> str:
        if date and not re.fullmatch(r"\d{4}-\d{2}-\d{2}(T[\d:.+Z-]+)?", date):
            raise ValueError("should be a date as in 2026-11-21")
        return date
