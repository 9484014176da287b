"""How pictures are decoded."""

from __future__ import annotations

from typing import Annotated, Literal

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
    animated: Literal["refuse", "first_frame"] = "refuse"
    """Of files that hold several pictures: quarantine them, or take the first, as it is shown at first."""
    check_md5: bool = False
    """Quarantine files whose MD5 differs from the post's. For original files; re-encoded ones always differ."""

    seconds: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 60.0
    """Time to look at one picture, reading it included where it is on this machine. What takes longer, twice, is
    quarantined."""
    memory: Annotated[int, pydantic.Field(ge=64 << 20)] = 2 << 30
    """Bytes that one picture may take, once read; twice as much as 64 million pixels with transparency need."""

    @pydantic.model_validator(mode="after")
    def _needs_pictures(self) -> PicturesConfig:
        if self.check_md5 and not self.decode:
            raise ValueError("check_md5 reads the pictures, and `decode: false` none; leave one of them out")
        return self
