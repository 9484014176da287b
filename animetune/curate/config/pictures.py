"""How pictures are decoded."""

from __future__ import annotations

from typing import Annotated

import pydantic

from animetune.config import StrictModel
from animetune.pictures import MAX_PIXELS

Level = Annotated[int, pydantic.Field(ge=0, le=255)]


class PicturesConfig(StrictModel):
    """How pictures are decoded; shards decode them in the same way."""

    background: tuple[Level, Level, Level] = (255, 255, 255)
    """Red, green, blue behind transparent pixels."""
    max_pixels: Annotated[int, pydantic.Field(gt=0, le=MAX_PIXELS)] = 64_000_000
    """Larger pictures are quarantined before they are decoded."""
    check_md5: bool = False
    """Quarantine files whose MD5 differs from the post's. For original files; re-encoded ones always differ."""
