"""Utilization by hand, and the names that CUDA gives to devices."""

from __future__ import annotations

import pytest
import torch

from animetune.models.config import ModelConfig
from animetune.models.flops import training_flops
from animetune.models.tiny import tiny_configs
from animetune.records import Size
from animetune.train.utilization import ImageFlops, mfu, peak_tflops


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A1000", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA GeForce RTX 4090D", None),
        ("AMD Instinct MI300X", None),
    ],
)
def test_peaks_by_name(name: str, peak: float | None) -> None:
    assert peak_tflops(name, torch.bfloat16) == peak


def test_no_guess_for_other_types() -> None:
    assert peak_tflops("NVIDIA H100 80GB HBM3", torch.float32) is None


def test_mfu_by_hand() -> None:
    """8 H100s that do 989 TFLOP each in 2 seconds work at half of what they could."""
    assert mfu(8 * 989e12, seconds=2.0, devices=8, tflops=989) == pytest.approx(0.5)


@pytest.mark.slow
@pytest.mark.parametrize("pixels", [False, True])
def test_flops_of_any_size_are_those_that_are_counted(pixels: bool) -> None:
    cfg = ModelConfig(base="random:tiny")
    flops = ImageFlops(tiny_configs(), cfg, chunks=2, pixels=pixels)
    for size in (Size(64, 64), Size(832, 1216), Size(1536, 640), Size(128, 192)):
        counted = training_flops(tiny_configs(), size, batch=1, chunks=2, cfg=cfg, pixels=pixels)
        assert flops(size) == pytest.approx(counted, rel=1e-9)
