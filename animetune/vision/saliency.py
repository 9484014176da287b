"""What stands out in a picture, by its spectrum alone: no model, no weights.

Spectral residual (Hou and Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007): pictures have about
the same log spectrum, smooth but for what is particular to one; what a spectrum has beyond its own mean over 3 x 3
frequencies, with the phase of the picture, is where something stands out. As in the paper on 64 pixels and blurred by a
Gaussian of 2.5 of them. Beyond the paper: on intensity and two opponent colours (Guo, Ma and Zhang, CVPR 2008), each
weighted by its contrast, so that the noise of a grey picture's colours counts for nothing; and on a mirrored margin,
without which a border that differs from the opposite one stands out by itself, since a spectrum is periodic.

It finds the odd thing on a plain ground. It knows nothing of faces, and a picture full of detail has no one place.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from animetune.vision.detectors import Box, suppress

LABEL = "salient"
"""Of the boxes found here."""
SIDE = 64
"""Pixels of the shorter side of what is looked at."""
BLUR = 2.5
"""Standard deviation of the blur, in those pixels."""
MARGIN = 16
"""Mirrored pixels around."""
WINDOWS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Sides of the windows that are tried, as shares of the shorter side."""
OVERLAP = 0.3
"""Intersection over union of two windows above which the lesser one goes."""
MOST_LONG = 8
"""Ratio of sides up to which a picture keeps its shape; longer ones are squeezed."""
_TRIED = 4096
_LEAST_CONTRAST = 1.0
"""Levels of standard deviation below which a channel says nothing."""


def saliency(image: Image.Image) -> np.ndarray:
    """float64 (h, w), sum 1, shorter side SIDE: how much each place of an RGB picture stands out.

    Even, where the picture has no contrast at all.
    """
    small = image.convert("RGB").resize(_small(image.size), Image.Resampling.BOX)
    red, green, blue = np.moveaxis(np.asarray(small, dtype=np.float64), 2, 0)
    channels = ((red + green + blue) / 3, red - green, blue - (red + green) / 2)
    total = np.zeros_like(red)
    for channel in channels:
        contrast = float(channel.std())
        if contrast >= _LEAST_CONTRAST:
            found = spectral_residual(channel)
            total += contrast * found / found.sum()
    if not total.any():
        return np.full_like(total, 1 / total.size)
    return total / total.sum()


def spectral_residual(channel: np.ndarray) -> np.ndarray:
    """float64 (h, w), not negative: the saliency of one channel, float64 (h, w), that is not constant."""
    margins = [min(MARGIN, side) for side in channel.shape]
    padded = np.pad(channel - channel.mean(), [(margin, margin) for margin in margins], mode="symmetric")
    spectrum = np.fft.fft2(padded)
    log = np.log(np.abs(spectrum) + 1e-9 * np.abs(spectrum).max())
    around = sum(np.roll(log, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)) / 9
    residual = np.exp(log - around) * np.exp(1j * np.angle(spectrum))
    energy = _blurred(np.abs(np.fft.ifft2(residual)) ** 2)
    return energy[margins[0] : -margins[0], margins[1] : -margins[1]]


def salient_boxes(image: Image.Image, *, at_most: int = 4) -> list[Box]:
    """The square windows in which most stands out, in pixels of the picture, the best first.

    The score of a window is its share of the saliency less its share of the area: 0 for a place like all others, near
    1 for a small one that holds all. Windows of all sizes in WINDOWS compete, so that one about fits what is there.
    """
    found = saliency(image)
    height, width = found.shape
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = found.cumsum(axis=0).cumsum(axis=1)
    corners, scores = [], []
    for side in sorted({max(1, round(share * min(height, width))) for share in WINDOWS}):
        inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        top, left = (axis.ravel() for axis in np.indices(inside.shape))
        corners.append(np.stack([left, top, left + side, top + side], axis=1))
        scores.append(inside.ravel() - side * side / found.size)
    # Rounded, so that windows which differ by the last bits of a transform come in the order of their places.
    corner, score = np.concatenate(corners), np.concatenate(scores).round(6)
    best = np.argsort(-score, kind="stable")[:_TRIED]
    best = best[score[best] > 0]
    kept = suppress(corner[best].astype(np.float64), score[best], np.zeros(len(best), np.int64), OVERLAP)[:at_most]
    scale = np.array([image.width / width, image.height / height] * 2)
    found_boxes = []
    for at in kept:
        left, top, right, bottom = (corner[best[at]] * scale).tolist()
        found_boxes.append(Box(left, top, right, bottom, float(score[best[at]]), LABEL))
    return found_boxes


def _small(size: tuple[int, int]) -> tuple[int, int]:
    scale = SIDE / min(size)
    return min(MOST_LONG * SIDE, max(1, round(size[0] * scale))), min(MOST_LONG * SIDE, max(1, round(size[1] * scale)))


def _blurred(values: np.ndarray) -> np.ndarray:
    """By a Gaussian, along both axes; what lies beyond an edge is what lies at it."""
    reach = int(np.ceil(3 * BLUR))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / BLUR) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        around = np.pad(values, [(reach, reach) if axis == each else (0, 0) for each in (0, 1)], mode="edge")
        values = sum(
            weight * around.take(range(at, at + values.shape[axis]), axis=axis) for at, weight in enumerate(weights)
        )
    return values
