"""Uniform borders: the letterboxes and pillarboxes around a picture, found by the pixels alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TOLERANCE = 20
"""Levels, of 0 to 255, that noise of JPEG may move a border's pixel away from the colour of the border."""
NOISE_SHARE = 0.005
"""Share of the values of a line that may lie farther away."""
DRIFT = 4
"""Levels that the mean of a line may differ from the border's colour: a sky that changes slowly is no border."""
LEAST_SIDE = 0.02
"""Share of the width or height below which a border is none."""
LEAST_LINES = 4
"""Pixels below which it is none, however small the picture."""
EDGE_SHARE = 0.5
"""Share of the line's pixels that have to change where a border ends."""
EDGE_LINES = 8
"""Lines behind a border in which they have to: a block of JPEG; of small pictures 1 % of the side, or two."""
MOST_AREA = 0.6
"""Share of the area above which what was found is no border."""
_BLOCK = 32
_SAMPLES = 256


class ContentBox(NamedTuple):
    """What is left without the borders, in pixels of the whole picture."""

    left: int
    top: int
    width: int
    height: int


class _Side(NamedTuple):
    """How deep a border is, and how far its colour goes: uint8 (channels,) each."""

    depth: int
    low: np.ndarray
    reach: np.ndarray


def content_box(pixels: np.ndarray) -> ContentBox | None:
    """The picture without its uniform borders; None for a picture without any.

    `pixels` are uint8 (height, width, channels). Each side has a border, or has not, by itself: lines of one colour,
    within TOLERANCE, over at least LEAST_SIDE of the side and LEAST_LINES, that end at once along EDGE_SHARE of the
    line. By the last of these the plain background of a drawing, which ends where a head begins, is no border. Nor are
    borders of more than MOST_AREA of the picture together. Costs a look at _SAMPLES pixels of every uniform line.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < 2 or pixels.size == 0:
        return None
    sides = _uniform_sides(pixels)
    if sides is None:
        return None
    depths = _with_edges(pixels, sides)
    top, bottom, left, right = depths
    box = ContentBox(left, top, width - left - right, height - top - bottom)
    if not any(depths) or box.width * box.height < (1 - MOST_AREA) * width * height:
        return None
    return box


def _uniform_sides(pixels: np.ndarray) -> list[_Side] | None:
    """Top, bottom, left, right: how many lines of one colour there are; None where there is nothing else.

    Columns are looked at between the rows that were found, and rows again between those columns, since a letterbox
    around a pillarbox may be of another colour.
    """
    empty = np.zeros(pixels.shape[2], np.uint8)
    sides = [_Side(0, empty, empty)] * 4
    for index in (0, 1, 2, 3, 0, 1):
        if index < 2 and sides[index].depth:
            continue
        inner = _oriented(_inside(pixels, [side.depth for side in sides]), index)
        if not inner.size:
            return None
        side = _uniform_lines(inner)
        if side.depth == len(inner):
            return None
        whole = pixels.shape[0] if index < 2 else pixels.shape[1]
        if side.depth >= max(LEAST_LINES, LEAST_SIDE * whole):
            sides[index] = side
    return sides


def _with_edges(pixels: np.ndarray, sides: list[_Side]) -> list[int]:
    """The depths of top, bottom, left and right, without those that do not end at an edge.

    The line is measured inside the other borders; so it is measured again when one of them turns out to be none.
    """
    depths = [side.depth for side in sides]
    settled = False
    while not settled:
        settled = True
        for index, side in enumerate(sides):
            count = min(EDGE_LINES, max(2, pixels.shape[index // 2] // 100))
            if depths[index] and not _ends_at_once(_oriented(_inside(pixels, depths), index)[:count], side):
                depths[index] = 0
                settled = False
    return depths


def _inside(pixels: np.ndarray, depths: list[int]) -> np.ndarray:
    top, bottom, left, right = depths
    height, width = pixels.shape[:2]
    return pixels[top : height - bottom, left : width - right]


def _oriented(pixels: np.ndarray, index: int) -> np.ndarray:
    """A view whose lines run from the side inwards."""
    return (pixels, pixels[::-1], pixels.swapaxes(0, 1), pixels[:, ::-1].swapaxes(0, 1))[index]


def _uniform_lines(lines: np.ndarray) -> _Side:
    """How many lines from the first on have the colour of the first, which is its median; by _SAMPLES of each line."""
    lines = lines[:, :: max(1, lines.shape[1] // _SAMPLES)]
    colour = np.median(lines[0], axis=0).astype(np.int16)
    low = np.clip(colour - TOLERANCE, 0, 255).astype(np.uint8)
    reach = (np.clip(colour + TOLERANCE, 0, 255) - low).astype(np.uint8)
    depth = 0
    size = 1  # most pictures have no border, and their first line tells
    while depth < len(lines):
        block = lines[depth : depth + size]
        far = _far(block, low, reach).mean(axis=(1, 2)) > NOISE_SHARE
        drift = np.abs(block.mean(axis=1, dtype=np.float32) - colour).max(axis=1) > DRIFT
        uneven = np.flatnonzero(far | drift)
        if len(uneven):
            return _Side(depth + int(uneven[0]), low, reach)
        depth += len(block)
        size = _BLOCK
    return _Side(depth, low, reach)


def _ends_at_once(lines: np.ndarray, side: _Side) -> bool:
    """Whether in one of the lines EDGE_SHARE of the pixels differ from the border."""
    far = _far(lines, side.low, side.reach).any(axis=2)
    return bool(far.mean(axis=1).max() >= EDGE_SHARE)


def _far(values: np.ndarray, low: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Whether values lie outside `low` to `low + reach`; those below come out above, as uint8 wraps around."""
    return values - low > reach
