"""Boxes of a picture -> the close-ups that are cut from it: geometry alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from animetune.curate.config.closeups import CloseupsConfig
from animetune.picture_urls import Region
from animetune.vision.detectors import Box


class Closeup(NamedTuple):
    """What is cut, in pixels of the picture, and why."""

    region: Region
    focus: tuple[float, float]
    """Centre of its box, as shares of its own width and height."""
    label: str
    score: float


class Cut(NamedTuple):
    """The close-ups of a picture in their order, and what became of the other boxes: reason -> number."""

    closeups: list[Closeup]
    refused: dict[str, int]


OUTSIDE, SMALL, LARGE, OVERLAPPING, SURPLUS = "outside", "too_small", "too_large", "overlapping", "surplus"
"""Why a box is not cut."""
CODES = {
    OUTSIDE: "the box is not in the picture, or in its border",
    SMALL: "a side would be shorter than min_side",
    LARGE: "it would show more of the picture than max_share",
    OVERLAPPING: "it would show what a better one shows",
    SURPLUS: "the picture has per_picture better ones",
    "several_people": "nobody knows which tags are whose",
}
"""What is said of these in reports, and of boxes of persons out of pictures with several."""


def cut(boxes: Sequence[Box], content: Region, cfg: CloseupsConfig) -> Cut:
    """The close-ups of a picture of which `content` is the picture proper, without borders.

    The best score comes first, then the uppermost, leftmost and smallest, so that their order does not depend on that
    of `boxes`.
    """
    refused = dict.fromkeys((OUTSIDE, SMALL, LARGE, OVERLAPPING, SURPLUS), 0)
    kept: list[Closeup] = []
    for box in sorted(boxes, key=lambda box: (-box.score, box.top, box.left, box.bottom, box.right, box.label)):
        region = crop_of(box, content, margin=margin_of(box.label, cfg), max_ratio=cfg.max_ratio)
        if region is None:
            refused[OUTSIDE] += 1
        elif min(region.width, region.height) < cfg.min_side:
            refused[SMALL] += 1
        elif region.width * region.height > cfg.max_share * content.width * content.height:
            refused[LARGE] += 1
        elif any(shared(region, other.region) > cfg.max_overlap for other in kept):
            refused[OVERLAPPING] += 1
        elif len(kept) == cfg.per_picture:
            refused[SURPLUS] += 1
        else:
            kept.append(Closeup(region, _focus(box, region), box.label, box.score))
    return Cut(kept, refused)


def margin_of(label: str, cfg: CloseupsConfig) -> float:
    """The margin around boxes of a label, as a share of their sides."""
    own = cfg.of_label(label).margin
    return cfg.margin if own is None else own


def crop_of(box: Box, content: Region, *, margin: float, max_ratio: float) -> Region | None:
    """The box with its margin, as whole pixels inside the content; None for a box of which nothing lies inside.

    Where it is too long, its short side grows, as far as there is content; then its long side is cut around the box.
    """
    first = content.left, content.top
    last = content.left + content.width, content.top + content.height
    sides = ((box.left, box.right), (box.top, box.bottom))
    inner = [(max(low, first[axis]), min(high, last[axis])) for axis, (low, high) in enumerate(sides)]
    if any(low >= high for low, high in inner):
        return None
    outer = [(low - margin * (high - low), high + margin * (high - low)) for low, high in inner]
    longest = max(high - low for low, high in outer)
    wanted = [max(high - low, longest / max_ratio) for low, high in outer]
    grown = [
        _placed(span, side, first[axis], last[axis])
        for axis, (span, side) in enumerate(zip(outer, wanted, strict=True))
    ]
    whole = [(math.floor(low), math.ceil(high)) for low, high in grown]
    most = max(1, math.floor(max_ratio * min(high - low for low, high in whole)))
    spans = [_cut_around(span, sum(inner[axis]) / 2, most) for axis, span in enumerate(whole)]
    (left, right), (top, bottom) = spans
    return Region(left, top, right - left, bottom - top)


def shared(one: Region, other: Region) -> float:
    """Intersection over union of two regions that have pixels."""
    left, top, right, bottom = one.corners
    x, y, x_end, y_end = other.corners
    both = max(0, min(right, x_end) - max(left, x)) * max(0, min(bottom, y_end) - max(top, y))
    return both / (one.width * one.height + other.width * other.height - both)


def _placed(span: tuple[float, float], side: float, first: int, last: int) -> tuple[float, float]:
    """A span, cut where it leaves `first` to `last`; one that has to be longer grows evenly, elsewhere if need be."""
    extra = (side - (span[1] - span[0])) / 2
    low, high = span[0] - extra, span[1] + extra
    if extra > 0:
        shift = max(0.0, first - low) or min(0.0, last - high)
        low, high = low + shift, high + shift
    return max(low, float(first)), min(high, float(last))


def _cut_around(span: tuple[int, int], centre: float, most: int) -> tuple[int, int]:
    """A span of at most so many pixels, inside of the given one, around the centre as far as that goes."""
    low, high = span
    if high - low <= most:
        return span
    start = min(max(round(centre - most / 2), low), high - most)
    return start, start + most


def _focus(box: Box, region: Region) -> tuple[float, float]:
    across = ((box.left + box.right) / 2 - region.left) / region.width
    down = ((box.top + box.bottom) / 2 - region.top) / region.height
    return min(max(across, 0.0), 1.0), min(max(down, 0.0), 1.0)
