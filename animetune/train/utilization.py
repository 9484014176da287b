"""How much of a device's arithmetic training uses: MFU, model FLOP/s over peak FLOP/s (Chowdhery et al. 2022).

Only what the model needs is counted: not what activation checkpointing computes a second time.
"""

from __future__ import annotations

import functools
import math
import re

import torch

from animetune.models.config import ModelConfig
from animetune.models.flops import training_flops
from animetune.models.sdxl import Architecture
from animetune.records import Size

PEAK_TFLOPS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200 NVL": 835.0,
    "H200": 989.0,
    "H100 NVL": 835.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "RTX 6000 Ada Generation": 364.2,
    "A40": 149.7,
    "RTX A6000": 154.8,
    "GeForce RTX 5090": 209.5,
    "GeForce RTX 4090": 165.2,
    "GeForce RTX 3090": 71.0,
}
"""Name in that of the device -> teraFLOP/s of dense matrix products in bfloat16 summed in fp32, by its data sheet."""


def peak_tflops(device_name: str, dtype: torch.dtype) -> float | None:
    """Of a device as CUDA names it (`NVIDIA H100 80GB HBM3`); None where it is not known for this type."""
    if dtype not in (torch.bfloat16, torch.float16):
        return None
    # A laptop's or a "Ti" of the same name is another device.
    known = (
        peak for name, peak in PEAK_TFLOPS.items() if re.search(rf"\b{name}($|[ -](SXM|PCIe|\d+GB))", device_name, re.I)
    )
    return next(known, None)


class ImageFlops:
    """Model FLOPs of training on one picture of a size, forward and backward.

    They are a polynomial of second degree in the picture's area: convolutions and projections grow with the pixels,
    self-attention with their square, and the text has its own. So counting three sizes (12 seconds for SDXL, when the
    first figure is asked for) gives them all; sizes that the UNet cannot halve evenly are off by a little.
    """

    COUNTED = (Size(256, 256), Size(512, 512), Size(768, 768))

    def __init__(self, architecture: Architecture, cfg: ModelConfig, *, chunks: int, pixels: bool):
        self._count = functools.partial(training_flops, architecture, batch=1, chunks=chunks, cfg=cfg, pixels=pixels)

    def __call__(self, size: Size) -> float:
        """Of a picture of `size` pixels."""
        total = 0.0
        for counted, flops in self._counted.items():  # Lagrange's form of the polynomial
            others = [other for other in self.COUNTED if other != counted]
            total += flops * math.prod((size.area - each.area) / (counted.area - each.area) for each in others)
        return total

    @functools.cached_property
    def _counted(self) -> dict[Size, int]:
        return {size: self._count(size) for size in self.COUNTED}


def mfu(flops: float, *, seconds: float, devices: int, tflops: float) -> float:
    """Share of the peak of all devices, 0 to 1."""
    return flops / (seconds * devices * tflops * 1e12)
