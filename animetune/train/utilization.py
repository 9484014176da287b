"""How much of a device's arithmetic training uses: MFU, model FLOP/s over peak FLOP/s (Chowdhery et al. 2022).

Only what the model needs is counted: not what activation checkpointing computes a second time.
"""

from __future__ import annotations

import re

import torch

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


def mfu(flops: float, *, seconds: float, devices: int, tflops: float) -> float:
    """Share of the peak of all devices, 0 to 1."""
    return flops / (seconds * devices * tflops * 1e12)
