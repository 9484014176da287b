"""Enlarging, between the first pass and the second."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from animetune.diffusion.draw_config import UpscaleConfig
from animetune.records import Size

_FILTERS: dict[str, Image.Resampling] = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def enlarge_latents(latents: torch.Tensor, size: Size, cfg: UpscaleConfig) -> torch.Tensor:
    """Latents (b, 4, h, w) for pictures of `size`, by PyTorch, which has no lanczos."""
    return torch.nn.functional.interpolate(latents, size=size.cells, mode=cfg.method)


def enlarge_pixels(pixels: np.ndarray, size: Size, cfg: UpscaleConfig) -> np.ndarray:
    """A picture, uint8 RGB (h, w, 3), in `size`, by Pillow."""
    return np.asarray(Image.fromarray(pixels).resize((size.width, size.height), _FILTERS[cfg.method]))
