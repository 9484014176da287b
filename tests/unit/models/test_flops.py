"""FLOPs against hand arithmetic, their own laws, and counts that were published before."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from animetune.models.config import ModelConfig
from animetune.models.flops import executed_flops, training_flops
from animetune.models.sdxl import sdxl_configs
from animetune.models.tiny import tiny_configs
from animetune.records import Size

FROZEN = {"train_text_encoder": False, "train_text_encoder_2": False}


@functools.cache
def tiny(
    size: int = 64, *, batch: int = 1, chunks: int = 1, count: Callable[..., int] = training_flops, **settings: Any
) -> int:
    pixels = settings.pop("pixels", False)
    cfg = ModelConfig(base="random:tiny", **settings)
    return count(tiny_configs(), Size(size, size), batch=batch, chunks=chunks, cfg=cfg, pixels=pixels)


def test_are_linear_in_the_batch() -> None:
    assert tiny(batch=3, chunks=2) == 3 * tiny(chunks=2)


def test_are_quadratic_in_the_area() -> None:
    """Convolutions and linear layers grow with the tokens, self-attention with their square."""
    areas = np.array([64, 128, 192]) ** 2
    at = np.linalg.solve(np.vander(areas.astype(float), 3), [float(tiny(side)) for side in (64, 128, 192)])
    assert tiny(256) == pytest.approx(float(np.polyval(at, 256**2)), rel=1e-9)
    assert at[0] > 0


def test_of_a_trained_text_encoder_by_hand() -> None:
    """Of CLIP-L's two layers the first one has gradients: the backward pass is twice its forward pass.

    Its forward pass: four projections and an MLP of four times the width, the scores and their use.
    """
    width, tokens = 24, 77
    layer = 2 * tokens * (4 * width**2 + 2 * 4 * width**2) + 2 * 2 * tokens**2 * width
    assert tiny() - tiny(train_text_encoder=False) == 2 * layer


def test_count_what_is_done() -> None:
    assert tiny(**FROZEN) < tiny(train_text_encoder=False) < tiny()
    assert tiny(pixels=True) > tiny()
    assert tiny(activation_checkpointing="full") == tiny()
    done = [tiny(count=executed_flops, activation_checkpointing=mode) for mode in ("none", "selective", "full")]
    assert tiny() == done[0] < done[1] < done[2] < 4 / 3 * done[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "chunks", "settings", "expected"),
    [
        (Size(512, 512), 1, FROZEN, 4.714 + 0.111),
        (Size(832, 1216), 1, FROZEN, 19.447 + 0.111),
        (Size(1024, 1024), 1, FROZEN, 20.231 + 0.111),
        (Size(1536, 1536), 1, FROZEN, 51.730 + 0.111),
    ],
)
def test_of_the_real_networks(size: Size, chunks: int, settings: dict[str, Any], expected: float) -> None:
    cfg = ModelConfig(base="random:sdxl", **settings)
    found = training_flops(sdxl_configs(), size, batch=1, chunks=chunks, cfg=cfg)
    assert found / 1e12 == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_of_what_is_recomputed_and_encoded() -> None:
    """25.44 with the blocks and resnets that diffusers recomputes; we recompute the first of the middle too: 25.47."""
    frozen = {"architecture": sdxl_configs(), "size": Size(1024, 1024), "batch": 1, "chunks": 1}

    def executed(mode: str) -> float:
        cfg = ModelConfig(base="random:sdxl", activation_checkpointing=mode, **FROZEN)
        return executed_flops(**frozen, cfg=cfg) / 1e12

    assert executed("full") == pytest.approx(25.47 + 0.111, rel=1e-3)
    assert executed("selective") / executed("none") == pytest.approx(1.11, abs=0.005)
    cfg = ModelConfig(base="random:sdxl", **FROZEN)
    vae = training_flops(**frozen, cfg=cfg, pixels=True) - training_flops(**frozen, cfg=cfg)
    assert vae / 1e12 == pytest.approx(4.879, rel=1e-3)
