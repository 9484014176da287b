"""Quarters of a grid of 2x2 pictures, each named `<column>,<row>` from 0."""

from __future__ import annotations

from pathlib import Path

from PIL import ExifTags, Image

from animetune.errors import DataError
from animetune.picture_urls import Region

QUARTERS = ("0,0", "1,0", "0,1", "1,1")
"""In the order in which DPG-Bench's script cuts them."""
_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


def named(digest: str, quarter: str) -> str:
    """What tells a quarter of a picture from others, where `digest` tells the picture; `quarter` may be empty."""
    return f"{digest}#{quarter}" if quarter else digest


def region_of(file: Path, quarter: str) -> Region:
    """Where a quarter lies in the upright picture; of an odd number of pixels the second half has one more.

    Raises DataError for a file that is no picture, or has a side of one pixel.
    """
    column, row = (int(place) for place in quarter.split(","))
    try:
        with Image.open(file) as opened:
            is_sideways = opened.getexif().get(ExifTags.Base.Orientation, 1) in _SIDEWAYS
            width, height = opened.size[::-1] if is_sideways else opened.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: cannot be looked at ({error}); remove it or get it again") from error
    if min(width, height) < 2:
        raise DataError(f"{file}: has {width}x{height} pixels, and cannot be cut into quarters; leave out `crop`")
    left, top = column * (width // 2), row * (height // 2)
    return Region(left, top, width - width // 2 if column else width // 2, height - height // 2 if row else height // 2)
