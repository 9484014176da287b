"""How pictures are decoded."""

from __future__ import annotations

from typing import Annotated

import pydantic

from animetune.config import StrictModel
from animetune.pictures import MAX_PIXELS

Level = Annotated[int, pydantic.Field(ge=0, le=255)]


class PicturesConfig(StrictModel):
    """How pictures are decoded; shards decode them in the same way."""

    decode: bool = True
    """Read every picture. Without it, none is looked at, to decide what to download or to see what a table would hold:
    sizes are those that posts state, and posts that state none are quarantined as `no_size`."""
    background: tuple[Level, Level, Level] = (255, 255, 255)
    """Red, green, blue behind transparent pixels."""
    max_pixels: Annotated[int, pydantic.Field(gt=0, le=MAX_PIXELS)] = 64_000_000
    """Larger pictures are quarantined before they are decoded."""
    check_md5: bool = False
    """Quarantine files whose MD5 differs from the post's. For original files; re-encoded ones always differ."""

    @pydantic.model_validator(mode="after")
    def _needs_pictures(self) -> PicturesConfig:
        if self.check_md5 and not self.decode:
            raise ValueError("check_md5 reads the pictures, and `decode: false` none; leave one of them out")
        return self
