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

from animetune.vision.detectors import Box

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
MOST_LONG = 8
"""Ratio of sides up to which a picture keeps its shape; longer ones are squeezed."""
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
    What lies in a window that was chosen counts for no other (inhibition of return, Itti, Koch and Niebur 1998).
    """
    found = saliency(image)
    height, width = found.shape
    across, down = image.width / width, image.height / height
    boxes: list[Box] = []
    while len(boxes) < at_most:
        score, left, top, side = _best_window(found)
        if score <= 0:
            break
        found[top : top + side, left : left + side] = 0
        right, bottom = (left + side) * across, (top + side) * down
        boxes.append(Box(left * across, top * down, right, bottom, score, LABEL))
    return boxes


def _best_window(found: np.ndarray) -> tuple[float, int, int, int]:
    """(score, left, top, side) of the best window; of equal ones the smallest, then the uppermost, then the leftmost.

    Scores are rounded, so that the last bits of a transform do not decide between windows.
    """
    height, width = found.shape
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = found.cumsum(axis=0).cumsum(axis=1)
    best = (0.0, 0, 0, 1)
    for side in sorted({max(1, round(share * min(height, width))) for share in WINDOWS}):
        inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        score = (inside - side * side / found.size).round(6)
        top, left = np.unravel_index(int(score.argmax()), score.shape)
        if score[top, left] > best[0]:
            best = (float(score[top, left]), int(left), int(top), side)
    return best


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
