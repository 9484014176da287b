"""Memory against independent counts: live storages traced under FakeTensor, and arithmetic on the parameters."""

from __future__ import annotations

import pytest
import torch

from animetune.models.sdxl import build_network, sdxl_configs
from animetune.plan.memory import activation_bytes, optimizer_state_bytes
from animetune.records import Size
from animetune.train.optim.config import AdafactorConfig, AdamW8bitConfig, AdamWConfig

GB = 1e9


@pytest.mark.parametrize(("batch", "size", "expected"), [(1, Size(1024, 1024), 6.89), (1, Size(1536, 1536), 15.5)])
def test_activations_of_the_real_unet(batch: int, size: Size, expected: float) -> None:
    """6.89 and 15.5 GB: live storages after the forward pass in bf16, traced by another method."""
    counted = activation_bytes(sdxl_configs(), size, batch=batch, dtype=torch.bfloat16, chunks=1, checkpointing=False)
    assert counted / GB == pytest.approx(expected, rel=0.01)


def test_activations_grow_with_the_batch() -> None:
    def at(batch: int) -> int:
        return activation_bytes(
            sdxl_configs(), Size(512, 512), batch=batch, dtype=torch.bfloat16, chunks=1, checkpointing=False
        )

    assert at(4) == pytest.approx(4 * at(1), rel=0.01)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (AdamWConfig(name="adamw", unet_lr=1e-5), 20.54),
        (AdafactorConfig(name="adafactor", unet_lr=1e-5), 0.98),
        (AdafactorConfig(name="adafactor", unet_lr=1e-5, flatten_convolutions=True), 0.02),
        (AdamW8bitConfig(name="adamw8bit", unet_lr=1e-5), 5.14),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_optimizer_state_of_the_real_unet(optimizer, expected: float) -> None:
    with torch.device("meta"):
        unet = build_network(sdxl_configs(), "unet")
    assert sum(parameter.numel() for parameter in unet.parameters()) == 2_567_463_684
    total = sum(optimizer_state_bytes(tuple(parameter.shape), optimizer) for parameter in unet.parameters())
    assert total / GB == pytest.approx(expected, abs=0.02)
