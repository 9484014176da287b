"""Optimizers: groups and rates, reference trajectories, fp32 masters, state that survives a round trip."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from animetune import checkpoint
from animetune.errors import ConfigError
from animetune.train.optim import build_optimizer
from animetune.train.optim.build import trained_parameters
from animetune.train.optim.config import AdafactorConfig, AdamW8bitConfig, AdamWConfig
from animetune.train.optim.state import dump_optimizer, load_optimizer

ADAFACTOR = AdafactorConfig(name="adafactor", unet_lr=1e-2)
ADAMW = AdamWConfig(name="adamw", unet_lr=1e-2)
ADAMW8 = AdamW8bitConfig(name="adamw8bit", unet_lr=1e-2)


class Parts(nn.Module):
    """A UNet and two text encoders of the smallest kind."""

    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.unet = nn.Linear(96, 48).to(dtype)
            self.text_encoder = nn.Linear(4, 4).to(dtype)
            self.text_encoder_2 = nn.Conv2d(2, 3, 3).to(dtype)


def set_gradients(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def test_groups_and_rates() -> None:
    cfg = AdamWConfig(name="adamw", unet_lr=3e-5, text_encoder_lr=1e-6)
    optimizer = build_optimizer(Parts(), cfg)
    assert [(g["name"], g["lr"]) for g in optimizer.param_groups] == [
        ("unet", 3e-5),
        ("text_encoder", 1e-6),
        ("text_encoder_2", 1e-6),
    ]


def test_frozen_parts_have_no_group() -> None:
    model = Parts()
    model.text_encoder.requires_grad_(False)
    assert [g["name"] for g in build_optimizer(model, ADAMW).param_groups] == ["unet", "text_encoder_2"]
    model.requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing is trained"):
        build_optimizer(model, ADAMW)


def test_adamw_follows_torch() -> None:
    model, reference = Parts(), Parts()
    optimizer = build_optimizer(model, ADAMW)
    expected = torch.optim.AdamW(reference.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(10):
        set_gradients(model, step)
        set_gradients(reference, step)
        optimizer.step()
        expected.step()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("cfg", [ADAFACTOR, ADAMW, ADAMW8], ids=lambda cfg: cfg.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_state_survives_a_checkpoint_by_name(cfg, dtype, tmp_path) -> None:
    straight, first, second = Parts(dtype), Parts(dtype), Parts(dtype)
    run = build_optimizer(straight, cfg)
    for step in range(6):
        set_gradients(straight, step)
        run.step()

    before = build_optimizer(first, cfg)
    for step in range(3):
        set_gradients(first, step)
        before.step()
    names = [name for name, _ in trained_parameters(first)]
    state = dump_optimizer(before, names)
    saved = checkpoint.load(
        checkpoint.save(checkpoint.Checkpoint(step=3, model={}, optimizer=state), tmp_path)
    ).optimizer
    second.load_state_dict(first.state_dict())
    after = build_optimizer(second, cfg)
    load_optimizer(after, names, saved)
    for step in range(3, 6):
        set_gradients(second, step)
        after.step()
    for expected, resumed in zip(straight.parameters(), second.parameters(), strict=True):
        assert torch.equal(expected, resumed)


def test_masters_keep_updates_that_bf16_would_round_away() -> None:
    model = Parts(torch.bfloat16)
    with torch.no_grad():
        model.unet.weight.fill_(1.0)
    cfg = AdamWConfig(name="adamw", unet_lr=1e-5)
    optimizer = build_optimizer(model, cfg)
    for _ in range(500):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    # 500 steps of 1e-5 are 5e-3: one bf16 spacing below 1 is 2**-8 = 3.9e-3, while one step is far below it
    assert model.unet.weight.float().mean().item() == pytest.approx(1 - 5e-3, abs=2**-8)
    assert model.unet.weight.float().max().item() < 1.0


def test_master_step_follows_the_learning_rate_of_the_group() -> None:
    model = Parts(torch.bfloat16)
    optimizer = build_optimizer(model, ADAMW)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    set_gradients(model, 0)
    optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
