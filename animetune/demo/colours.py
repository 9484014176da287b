"""Reads the hair and background colour of a drawn character back from its picture.

The demo asks a trained model for "red hair, orange background" and looks: a falling loss is no proof that captions,
tokens, conditioning, loss, sampler and VAE fit together, a picture that shows what the prompt says is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from animetune.demo.drawing import BACKGROUNDS, HAIR, INK, RGB, SKIN, WHITE, mix

CORNER = 0.12
"""Side of the corner patches that show background only, as a share of the picture's sides."""
CROWN = (0.36, 0.12, 0.64, 0.38)
"""Left, top, right, bottom of the box that the crown of the hair fills most of, as shares of width and height."""


class Colours(NamedTuple):
    """Colour words, keys of HAIR and BACKGROUNDS."""

    hair: str
    background: str


def measure(picture: Image.Image) -> Colours:
    """The nearest named colours of a picture of ONE character, of any size.

    The background is the median of the two upper corners. The hair is the named colour that most pixels of the crown
    are nearest to, when skin, ink and the background found are named too and do not count.
    """
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float64)
    height, width, _ = pixels.shape
    rows, columns = max(1, round(height * CORNER)), max(1, round(width * CORNER))
    corners = np.concatenate([pixels[:rows, :columns], pixels[:rows, -columns:]], axis=1)
    background = nearest(np.median(corners, axis=(0, 1)), BACKGROUNDS)[0]

    left, top, right, bottom = CROWN
    crown = pixels[round(height * top) : round(height * bottom), round(width * left) : round(width * right)]
    behind = BACKGROUNDS[background]
    others = {"skin": SKIN, "ink": INK, "behind": behind, "disc": mix(behind, WHITE, 0.14)}
    found = nearest(crown.reshape(-1, 3), HAIR | {f"not {name}": colour for name, colour in others.items()})
    counts = {name: found.count(name) for name in HAIR}
    return Colours(hair=max(counts, key=counts.__getitem__), background=background)


def nearest(colours: np.ndarray, palette: Mapping[str, RGB]) -> list[str]:
    """The name in `palette` that is nearest in RGB, for each colour of (..., 3)."""
    names = list(palette)
    anchors = np.array([palette[name] for name in names], dtype=np.float64)
    distances = np.square(colours.reshape(-1, 1, 3) - anchors).sum(axis=-1)
    return [names[index] for index in distances.argmin(axis=1)]
