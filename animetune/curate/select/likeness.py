"""How alike two pictures of one shape are, where they are least alike.

A hash, and any mean over a whole picture, finds a smile and a surprise on one sprite the same. So both pictures are
brought to the smaller one's size, halved, and compared in windows of WINDOW * 2 pixels, every STEP * 2 pixels; what
counts is the worst window. Halving takes away what re-encoding and resizing change at single pixels.

The structure is that of SSIM (Wang, Bovik, Sheikh and Simoncelli, 2004, equation 13 without the term of means):
(2 cov + C) / (var_a + var_b + C) of the luma, with C = STEADY^2 for windows that show next to nothing. Its means are
compared by themselves, in levels, and those of the two chroma channels: of a window that is flat in both pictures the
structure is 1, whatever their colours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

WINDOW = 6
"""Side of a window, in pixels of the halved picture."""
STEP = 2
"""From one window to the next; divides WINDOW."""
STEADY = 12.0
"""Levels: a standard deviation that is noise."""


class Likeness(NamedTuple):
    """Of the window where two pictures are least alike, by each measure."""

    structure: float
    """1 for equal ones, near 0 for unrelated, -1 for opposite ones."""
    luma: float
    """Difference of the means, in levels of 0 to 255."""
    chroma: float
    """The same, of the chroma channel that differs more."""


def likeness(one: Image.Image, other: Image.Image) -> Likeness:
    """Compare two RGB pictures of the same shape (`same_shape`); the order does not matter.

    The sums are of integers, so that it does not depend on the machine. 3 megapixels take about 0.1 s.
    """
    smaller, larger = sorted((one, other), key=lambda image: image.width * image.height)
    if larger.size != smaller.size:
        larger = larger.resize(smaller.size, Image.Resampling.LANCZOS)
    a, b = _halved(smaller), _halved(larger)
    mean_a, mean_b = (_sums(channels) / WINDOW**2 for channels in (a, b))
    luma_a, luma_b = a[..., :1], b[..., :1]
    var_a, var_b, cov = (
        _sums(left * right)[..., 0] / WINDOW**2 - mean_left[..., 0] * mean_right[..., 0]
        for left, right, mean_left, mean_right in (
            (luma_a, luma_a, mean_a, mean_a),
            (luma_b, luma_b, mean_b, mean_b),
            (luma_a, luma_b, mean_a, mean_b),
        )
    )
    structure = (2 * cov + STEADY**2) / (var_a + var_b + STEADY**2)
    apart = np.abs(mean_a - mean_b).max(axis=(0, 1))
    return Likeness(float(structure.min()), float(apart[0]), float(apart[1:].max()))


def same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether some scale brings a picture of one size (width, height) to the other, up to a pixel of rounding."""
    larger = max(one, other, key=lambda size: size[0] * size[1])
    return abs(one[0] * other[1] - one[1] * other[0]) < larger[0] + larger[1]


def _halved(image: Image.Image) -> np.ndarray:
    """int32 (height, width, 3): luma and chroma (JPEG's YCbCr), each the mean of 2x2 pixels; sides fit the windows."""
    pixels = np.asarray(image.convert("YCbCr").reduce(2), np.int32)
    more = [(0, max(WINDOW - side, -side % STEP)) for side in pixels.shape[:2]]
    return np.pad(pixels, (*more, (0, 0)), mode="edge")


def _sums(values: np.ndarray) -> np.ndarray:
    """int32 (windows down, windows across, channels): the sum in each window."""
    height, width, channels = values.shape
    cells = values.reshape(height // STEP, STEP, width // STEP, STEP, channels).sum(axis=(1, 3), dtype=np.int32)
    reach = WINDOW // STEP
    down = sum(cells[first : len(cells) - reach + 1 + first] for first in range(reach))
    across = down.shape[1] - reach + 1
    return sum(down[:, first : across + first] for first in range(reach))
