"""Where a picture is: a path or URL, a member of an uncompressed tar, a region of what is decoded from there.

    photo.png                                       a file, or any URL that fsspec knows
    archive.tar!0001.png@1536+20480                 20480 bytes of the tar from byte 1536 on
    photo.png#xywh=160,120,320,240                  left, top, width, height in pixels of the upright, decoded picture

The fragment is that of W3C Media Fragments URI 1.0 (part 4.2.2, pixels). Nothing else behind a `#` is one, so names of
files may hold a `#`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

_REGION = re.compile(r"(?P<rest>.*)#xywh=(?P<left>\d+),(?P<top>\d+),(?P<width>\d+),(?P<height>\d+)", re.DOTALL)
_MEMBER = re.compile(r"(?P<archive>.+)!(?P<member>[^!]+)@(?P<offset>\d+)\+(?P<length>\d+)")


class Region(NamedTuple):
    """A rectangle in pixels of an upright, decoded picture."""

    left: int
    top: int
    width: int
    height: int

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """left, top, right, bottom; the last two are the first pixels outside, as Pillow counts."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def within(self, width: int, height: int) -> bool:
        """Whether it has pixels, and a picture of that size has all of them."""
        _, _, right, bottom = self.corners
        return (
            min(self.left, self.top) >= 0 and min(self.width, self.height) > 0 and right <= width and bottom <= height
        )


@dataclass(frozen=True, slots=True)
class PictureUrl:
    """The parts of what `image` says."""

    path: str
    """A path or URL that can be opened."""
    offset: int = 0
    """Where the encoded picture begins, in bytes."""
    length: int | None = None
    """How many bytes it has; None for all to the end."""
    region: Region | None = None
    """What of the decoded picture is the picture; None for all of it."""


def parse(url: str) -> PictureUrl:
    """The parts of a URL; one that names no member and no region is a path as it stands."""
    rest, region = split_region(url)
    member = _MEMBER.fullmatch(rest)
    if member is None:
        return PictureUrl(rest, region=region)
    return PictureUrl(member["archive"], int(member["offset"]), int(member["length"]), region)


def split_region(url: str) -> tuple[str, Region | None]:
    """The URL of the whole picture, and the region that the URL names."""
    found = _REGION.fullmatch(url)
    if found is None:
        return url, None
    return found["rest"], Region(*(int(found[name]) for name in Region._fields))


def with_region(url: str, region: Region) -> str:
    """The URL of a region of what `url` names, which may be a region itself: then of the picture that it is cut from.

    ValueError for a region that reaches out of that one, or has no pixels.
    """
    whole, outer = split_region(url)
    bounds = (outer.width, outer.height) if outer else (region.left + region.width, region.top + region.height)
    if not region.within(*bounds):
        raise ValueError(f"{url}: {tuple(region)} is no region of it")
    left, top = (outer.left, outer.top) if outer else (0, 0)
    return f"{whole}#xywh={left + region.left},{top + region.top},{region.width},{region.height}"
