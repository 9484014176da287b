"""Steps within the backward pass against ordinary ones; several ranks are in tests/dist/test_optimizer_ranks.py."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from animetune.errors import ConfigError
from animetune.models.tiny import build_tiny
from animetune.train.optim import build_optimizer
from animetune.train.optim.clip import clip_gradients
from animetune.train.optim.config import AdafactorConfig, AdamW8bitConfig, AdamWConfig, ClipConfig, LionConfig
from animetune.train.optim.in_backward import InBackward, refuse_accumulation

CONFIGS = [
    AdafactorConfig(name="adafactor", unet_lr=1e-2, weight_decay=0.01),
    AdamWConfig(name="adamw", unet_lr=1e-2),
    AdamW8bitConfig(name="adamw8bit", unet_lr=1e-2),
    LionConfig(name="lion", unet_lr=1e-3),
]


class Chain(nn.Module):
    """Two layers of each kind, and one that is used twice, so that its gradient has two parts."""

    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.unet = nn.Sequential(
                nn.Conv2d(3, 6, 3, padding=1), nn.SiLU(), nn.Conv2d(6, 6, 3, padding=1), nn.Flatten(), nn.Linear(96, 40)
            ).to(dtype)
            self.text_encoder = nn.Linear(40, 40).to(dtype)

    def loss(self, step: int) -> torch.Tensor:
        pictures = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(step))
        states = self.unet(pictures.to(self.text_encoder.weight.dtype))
        return self.text_encoder(torch.tanh(self.text_encoder(states))).float().square().mean()


def trained(cfg, dtype: torch.dtype, *, bucket: int | None, clip: ClipConfig | None = None, steps: int = 20) -> Chain:
    """Within the backward pass by buckets, or with None as usual; the rate changes from step to step."""
    model = Chain(dtype)
    optimizer = build_optimizer(model, cfg, seed=2)
    stepping = InBackward(optimizer, clip=clip, bucket=bucket) if bucket else None
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * (1 + step % 3)
        model.loss(step).backward()
        if stepping:
            assert all(parameter.grad is None for parameter in model.parameters())
        else:
            norm = clip_gradients(model.parameters(), clip)
        optimizer.step()
        if stepping:
            assert stepping.grad_norm > 0
        else:
            assert norm > 0
        optimizer.zero_grad()
    return model


@pytest.mark.parametrize("rounding", ["fp32", "master", "stochastic"])
@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.name)
def test_bit_equal_to_the_ordinary_step(cfg, rounding: str) -> None:
    dtype = torch.float32 if rounding == "fp32" else torch.bfloat16
    cfg = cfg.model_copy(update={"rounding": "stochastic" if rounding == "stochastic" else "master"})
    expected = trained(cfg, dtype, bucket=None)
    for bucket in (1, 3000, 2**30):
        found = trained(cfg, dtype, bucket=bucket)
        for a, b in zip(expected.parameters(), found.parameters(), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(expected.text_encoder.weight, Chain(dtype).text_encoder.weight)


def test_clipping_by_tensor_is_that_of_the_ordinary_step() -> None:
    clip = ClipConfig(by="tensor_norm", at=1e-3)
    expected = trained(CONFIGS[1], torch.float32, bucket=None, clip=clip)
    found = trained(CONFIGS[1], torch.float32, bucket=100, clip=clip)
    unclipped = trained(CONFIGS[1], torch.float32, bucket=100)
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), found.parameters(), strict=True))
    assert not torch.equal(found.text_encoder.weight, unclipped.text_encoder.weight)


def test_gradients_are_freed_as_they_are_used() -> None:
    """At no time are there more bytes of gradients than a bucket and one tensor."""
    model = Chain()
    sizes = [parameter.numel() * 4 for parameter in model.parameters()]
    held: list[int] = []
    optimizer = build_optimizer(model, CONFIGS[0])
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda _: held.append(sum(4 * each.grad.numel() for each in model.parameters() if each.grad is not None))
        )
    InBackward(optimizer, clip=None, bucket=2000)
    model.loss(0).backward()
    assert len(held) == len(sizes)
    assert max(held) < 2000 + max(sizes) < sum(sizes)


def test_the_norm_is_that_of_all_gradients() -> None:
    model, plain = Chain(), Chain()
    plain.loss(0).backward()
    stepping = InBackward(build_optimizer(model, CONFIGS[1]), clip=None, bucket=500)
    model.loss(0).backward()
    assert stepping.grad_norm == pytest.approx(clip_gradients(plain.parameters(), None), rel=1e-6)
    assert stepping.skipped == []


def test_a_tensor_without_a_finite_gradient_is_skipped_and_the_next_pass_forgets_it() -> None:
    model = Chain()
    before = model.unet[0].weight.detach().clone()
    stepping = InBackward(build_optimizer(model, CONFIGS[1]), clip=ClipConfig(by="tensor_norm", at=1.0))
    poison = model.unet[0].weight.register_hook(lambda gradient: gradient * math.inf)
    model.loss(0).backward()
    assert stepping.skipped == ["unet.0.weight"]
    assert not math.isfinite(stepping.grad_norm)
    assert torch.equal(model.unet[0].weight, before)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert not torch.equal(model.unet[4].weight, Chain().unet[4].weight)
    poison.remove()
    model.loss(1).backward()
    assert stepping.skipped == []
    assert not torch.equal(model.unet[0].weight, before)


def test_closed_is_as_it_was() -> None:
    model = Chain()
    InBackward(build_optimizer(model, CONFIGS[0]), clip=None).close()
    model.loss(0).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_tiny_model_with_checkpointed_activations() -> None:
    """Recomputed blocks finish their gradients once, too."""
    from tests.builders import token_ids

    def run(within: bool):
        models = build_tiny(0)
        models.unet.enable_gradient_checkpointing()
        models.train()
        optimizer = build_optimizer(models, AdafactorConfig(name="adafactor", unet_lr=1e-4, clip=None))
        if within:
            InBackward(optimizer, clip=None, bucket=100_000)
        for step in range(2):
            latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(step))
            text = models.encode_text(token_ids("1girl"))
            time_ids = torch.tensor([[64.0, 64, 0, 0, 64, 64]])
            models.predict(latents, torch.tensor([500]), text, time_ids).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        return models

    for (name, a), (_, b) in zip(run(True).named_parameters(), run(False).named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_accumulation_is_refused() -> None:
    cfg = AdafactorConfig(name="adafactor", unet_lr=1e-5, in_backward=True, clip=None)
    refuse_accumulation(cfg, 1)
    refuse_accumulation(CONFIGS[0], 4)
    with pytest.raises(ConfigError, match="a step has 4 micro-batches") as caught:
        refuse_accumulation(cfg, 4)
    assert "\n" not in str(caught.value)
