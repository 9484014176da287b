"""Rounding of bf16 weights: unbiased, equal for equal keys, and nothing lost that fp32 would have kept."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from animetune.train.optim import build_optimizer, master
from animetune.train.optim.config import AdafactorConfig, AdamW8bitConfig, AdamWConfig, CustomConfig, LionConfig
from animetune.train.optim.rounding import random_bits, round_stochastically
from animetune.train.optim.state import dump_optimizer, load_optimizer
from tests.unit.train.optim.parts import Parts, set_gradients, take_steps, worst

CPU = torch.device("cpu")
DRAWS = 100_000
CONFIGS = [
    AdafactorConfig(name="adafactor", unet_lr=1e-5),
    AdamWConfig(name="adamw", unet_lr=1e-5),
    AdamW8bitConfig(name="adamw8bit", unet_lr=1e-5),
    LionConfig(name="lion", unet_lr=1e-5),
]


@pytest.mark.parametrize("value", [1.0, 1.001, -1.003, 3.14159, -1e-30, 1e30, 1.0 + 2**-16, 2.0 - 2**-9, 1e-40])
def test_the_mean_is_right(value: float) -> None:
    """Within 4.5 standard errors of a draw between the neighbours; only the neighbours are drawn."""
    exact = torch.full((DRAWS,), value)
    rounded = round_stochastically(exact.clone(), random_bits(0, "w", 1, DRAWS, CPU))
    assert torch.equal(rounded.bfloat16().float(), rounded)
    found = sorted({float(each) for each in rounded.unique()})
    assert len(found) <= 2
    assert found[0] <= float(exact[0]) <= found[-1]
    spacing = found[-1] - found[0]
    share = (float(exact[0]) - found[0]) / spacing if spacing else 0.0
    error = abs(float(rounded.double().mean()) - float(exact[0].double()))
    assert error <= 4.5 * spacing * math.sqrt(share * (1 - share) / DRAWS)


@given(st.floats(width=32, allow_nan=False), st.integers(0, 65535))
def test_every_number_goes_to_a_neighbour(value: float, bits: int) -> None:
    rounded = round_stochastically(torch.tensor([value]), torch.tensor([bits], dtype=torch.int32)).bfloat16()
    down = torch.tensor([value]).view(torch.int32).bitwise_and_(-65536).view(torch.float32)
    up = down.clone().view(torch.int32).add_(65536).view(torch.float32)
    assert rounded.float() in (down, up)
    if bits == 0 or torch.isinf(down):
        assert rounded.float() == down


@pytest.mark.parametrize("bits", [0, 1, 65535])
def test_what_is_not_finite_stays_what_it_is(bits: int) -> None:
    """NaN of whatever bits, which a GPU's arithmetic may give: as numbers, 0x7fffffff + 1 is -0, and infinity is cut
    out of 0x7f800001."""
    nan = torch.tensor([0x7FC00000, 0x7FFFFFFF, 0x7F800001, -1, -0x7FFFFF], dtype=torch.int32).view(torch.float32)
    assert nan.isnan().all()
    value = torch.cat([nan, torch.tensor([math.inf, -math.inf, -0.0])])
    rounded = round_stochastically(value, torch.full((8,), bits, dtype=torch.int32))
    assert rounded.bfloat16().isnan().tolist() == [True] * 5 + [False] * 3
    assert rounded[5:].tolist() == [math.inf, -math.inf, 0.0]
    assert rounded.view(torch.int32)[7] == -(2**31), "-0"


def test_bits_are_uniform_and_a_function_of_the_key() -> None:
    bits = random_bits(7, "unet.a", 3, DRAWS, CPU)
    assert torch.equal(bits, random_bits(7, "unet.a", 3, DRAWS, CPU))
    for other in ((8, "unet.a", 3), (7, "unet.b", 3), (7, "unet.a", 4)):
        assert (bits.int() == random_bits(*other, DRAWS, CPU).int()).float().mean() < 1e-3
    assert torch.equal(random_bits(7, "unet.a", 3, 10, CPU).int(), bits[:10].int())  # so a shard can take its part
    counts = torch.bincount(bits.long() >> 8, minlength=256).double()
    chi_squared = ((counts - DRAWS / 256) ** 2 / (DRAWS / 256)).sum().item()
    assert abs(chi_squared - 255) < 5 * math.sqrt(2 * 255)
    low = torch.bincount(bits.long() & 255, minlength=256).double()
    assert abs(((low - DRAWS / 256) ** 2 / (DRAWS / 256)).sum().item() - 255) < 5 * math.sqrt(2 * 255)


@pytest.mark.parametrize("rounding", ["master", "stochastic"])
@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.name)
def test_updates_that_bf16_would_round_away_arrive(cfg, rounding: str) -> None:
    """200 steps of 1e-5 are 2e-3; a bf16 spacing below 1 is 2**-8 = 3.9e-3, and one step is far below half of it."""
    model = Parts(torch.bfloat16)
    weight = model.text_encoder_2[1].weight
    with torch.no_grad():
        weight.fill_(1.0)
    optimizer = build_optimizer(model, cfg.model_copy(update={"rounding": rounding}), seed=1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for _ in range(200):
        optimizer.step()
    # A weight moves by about one step of 2**-8, so the mean over 6300 has an error of 5e-5.
    tolerance = 2**-9 if rounding == "master" else 3e-4
    assert weight.float().mean().item() == pytest.approx(1 - 2e-3, abs=tolerance)
    assert weight.dtype == torch.bfloat16


@pytest.mark.parametrize("rounding", ["master", "stochastic"])
@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.name)
def test_decay_is_taken_off_before_rounding(cfg, rounding: str) -> None:
    """lr * weight_decay = 1e-5 a step of weights at 1, with no gradient to speak of: bf16 decay would do nothing."""
    model = Parts(torch.bfloat16)
    weight = model.text_encoder_2[1].weight
    with torch.no_grad():
        weight.fill_(1.0)
    settings = {"rounding": rounding, "weight_decay": 10.0, "unet_lr": 1e-6}
    optimizer = build_optimizer(model, cfg.model_copy(update=settings), seed=1)
    for step in range(200):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 1e-3 * (-1) ** step)
        optimizer.step()
    tolerance = 2**-9 if rounding == "master" else 8e-4
    assert weight.float().mean().item() == pytest.approx(math.exp(-2e-3), abs=tolerance)


def test_two_replicas_draw_the_same_and_another_seed_another() -> None:
    cfg = AdamWConfig(name="adamw", unet_lr=1e-4, rounding="stochastic")
    first, second, third = (Parts(torch.bfloat16) for _ in range(3))
    for model, seed in ((first, 1), (second, 1), (third, 2)):
        take_steps(model, build_optimizer(model, cfg, seed=seed), range(3))
    assert worst(first, second) == 0
    assert worst(first, third) > 0


@pytest.mark.parametrize("rounding", ["master", "stochastic"])
def test_how_many_are_cast_at_a_time_changes_nothing(rounding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for cfg in CONFIGS:
        cfg = cfg.model_copy(update={"rounding": rounding, "unet_lr": 1e-3})
        models = []
        for at_once in (2**26, 1000):
            monkeypatch.setattr(master, "AT_ONCE", at_once)
            models.append(Parts(torch.bfloat16))
            take_steps(models[-1], build_optimizer(models[-1], cfg, seed=1), range(3))
        assert worst(*models) == 0


def test_a_step_follows_the_learning_rate_of_the_group() -> None:
    for rounding in ("master", "stochastic"):
        model = Parts(torch.bfloat16)
        optimizer = build_optimizer(model, CONFIGS[1].model_copy(update={"rounding": rounding}))
        before = [parameter.detach().clone() for parameter in model.parameters()]
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        set_gradients(model, 0)
        optimizer.step()
        assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_an_optimizer_that_keeps_nothing_goes_on_with_the_next_bits() -> None:
    """SGD without momentum has no state of its own; the steps that were rounded are counted all the same."""
    settings = {"name": "custom", "class": "torch.optim.SGD", "unet_lr": 1e-2, "rounding": "stochastic"}
    cfg = CustomConfig.model_validate(settings)
    first, second = Parts(torch.bfloat16), Parts(torch.bfloat16)
    before, after = build_optimizer(first, cfg, seed=1), build_optimizer(second, cfg, seed=1)
    assert dump_optimizer(before) == {}
    take_steps(first, before, range(2))
    second.load_state_dict(first.state_dict())
    load_optimizer(after, dump_optimizer(before))
    assert after.inner.state == {}
    take_steps(first, before, range(2, 4))
    take_steps(second, after, range(2, 4))
    assert worst(first, second) == 0


def test_torch_state_dict_of_bf16_weights_loses_nothing() -> None:
    for rounding in ("master", "stochastic"):
        cfg = AdamWConfig(name="adamw", unet_lr=1e-3, rounding=rounding)
        first, second = Parts(torch.bfloat16), Parts(torch.bfloat16)
        before = build_optimizer(first, cfg)
        take_steps(first, before, range(2))
        second.load_state_dict(first.state_dict())
        after = build_optimizer(second, cfg)
        after.load_state_dict(before.state_dict())
        take_steps(first, before, range(2, 4))
        take_steps(second, after, range(2, 4))
        assert worst(first, second) == 0
