"""Drawing: each picture depends on its own request only, whatever shares its batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.diffusion.draw import draw
from animetune.models.tiny import build_tiny
from animetune.records import Request, Size

SAMPLER = SamplerConfig(steps=2, cfg_scale=3.0)
WIDE, TALL = Size(96, 64), Size(64, 96)
REQUESTS = [
    Request("1girl, red hair", 1, WIDE),
    Request("a cat", 2, TALL),
    Request("1girl, red hair", 3, WIDE, negative="worst quality"),
    Request(", ".join(["a very long prompt"] * 40), 1, WIDE),
]


@pytest.fixture(scope="module")
def models() -> torch.nn.Module:
    return build_tiny(0).eval()


def drawn(models, requests: list[Request], batch_size: int) -> dict[int, np.ndarray]:
    pictures = draw(models, requests, diffusion=DiffusionConfig(), sampler=SAMPLER, batch_size=batch_size)
    return dict(pictures)


def test_every_request_once_in_its_size(models) -> None:
    pictures = drawn(models, REQUESTS, 2)
    assert sorted(pictures) == [0, 1, 2, 3]
    assert [pictures[i].shape for i in range(4)] == [(64, 96, 3), (96, 64, 3), (64, 96, 3), (64, 96, 3)]


def test_a_picture_does_not_depend_on_its_batch(models) -> None:
    together = drawn(models, REQUESTS, 4)
    for place, request in enumerate(REQUESTS):
        alone = drawn(models, [request], 1)[0]
        assert np.abs(together[place].astype(int) - alone.astype(int)).max() <= 1  # sums in another order round so


def test_prompt_seed_and_negative_matter(models) -> None:
    base = Request("1girl, red hair", 1, WIDE)
    others = [
        Request("1girl, blue hair", 1, WIDE),
        Request("1girl, red hair", 2, WIDE),
        Request("1girl, red hair", 1, WIDE, negative="worst"),
    ]
    first, *rest = (drawn(models, [base, *others], 4)[i] for i in range(4))
    assert all((picture != first).any() for picture in rest)
