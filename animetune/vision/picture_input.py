"""Pictures as networks read them: fitted into the network's size, scaled to its numbers, laid out in its order.

picture --on_white--> RGB --fitted--> (height, width) --normalised--> float32, NCHW or NHWC without the N
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

WHITE = (255, 255, 255)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Of red, green and blue, 0 to 1, in the pictures that CLIP was trained on (openai/CLIP, clip/clip.py)."""
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Fit = Literal["stretch", "crop", "pad"]
"""How a picture becomes what the network reads: `stretch` regardless of its shape, `crop` to the middle after its
shorter side fits, `pad` with white to both sides after its longer side fits."""
Filter = Literal["bilinear", "bicubic", "lanczos"]
"""Of Pillow, whose support grows with the step: reduced pictures do not alias."""
Channels = Literal["rgb", "bgr"]
Layout = Literal["nchw", "nhwc"]

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class Numbers(NamedTuple):
    """What pixels become: (level / 255 - mean) / std, in the order of `channels`, laid out as `layout`."""

    mean: Sequence[float]
    """Of the channels in their order, 0 to 1."""
    std: Sequence[float]
    channels: Channels = "rgb"
    layout: Layout = "nchw"


def on_white(image: Image.Image) -> Image.Image:
    """The picture as RGB; what is transparent lies on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    opaque = Image.new("RGBA", image.size, (*WHITE, 255))
    return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")


def fitted(image: Image.Image, size: tuple[int, int], fit: Fit, by: Filter) -> Image.Image:
    """The RGB picture in `size` (width, height); a crop or border of odd size is the smaller one above and left."""
    if fit == "stretch":
        return image if image.size == size else image.resize(size, _FILTERS[by])
    of_sides = [size[axis] / image.size[axis] for axis in (0, 1)]
    scale = max(of_sides) if fit == "crop" else min(of_sides)
    # Rounded down as the image processors of CLIP do.
    across, down = (size[axis] if of_sides[axis] == scale else max(1, int(image.size[axis] * scale)) for axis in (0, 1))
    scaled = (across, down)
    resized = image if image.size == scaled else image.resize(scaled, _FILTERS[by])
    if resized.size == size:
        return resized
    left, top = ((resized.size[axis] - size[axis]) // 2 for axis in (0, 1))
    if fit == "crop":
        return resized.crop((left, top, left + size[0], top + size[1]))
    square = Image.new("RGB", size, WHITE)
    square.paste(resized, ((size[0] - resized.width) // 2, (size[1] - resized.height) // 2))
    return square


def normalised(image: Image.Image, numbers: Numbers) -> np.ndarray:
    """float32 (3, height, width), or (height, width, 3), of an RGB picture."""
    levels = np.asarray(image, dtype=np.float32)
    if numbers.channels == "bgr":
        levels = levels[:, :, ::-1]
    mean, std = np.array(numbers.mean, dtype=np.float32), np.array(numbers.std, dtype=np.float32)
    values = (levels / np.float32(255) - mean) / std
    return np.ascontiguousarray(values if numbers.layout == "nhwc" else values.transpose(2, 0, 1))
