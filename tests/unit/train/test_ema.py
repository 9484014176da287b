"""The moving averages against their recurrence in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from animetune.train.config import EmaConfig
from animetune.train.ema import Ema, decay_at
from animetune.train.optim.master import Fp32Master


def ema_of(parameter: nn.Parameter, **settings: object) -> Ema:
    return Ema([("w", parameter)], EmaConfig.model_validate({"decays": [0.9], **settings}))


def test_decay_ramps_up_to_its_limit() -> None:
    assert decay_at(1, 0.999) == 2 / 11
    assert decay_at(10**6, 0.999) == 0.999


@pytest.mark.parametrize("device", ["model", "cpu"])
def test_updates_are_the_recurrence_for_every_decay(device: str) -> None:
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    ema = ema_of(parameter, decays=[0.9, 0.5], device=device)
    expected = {decay: parameter.detach().double() for decay in (0.9, 0.5)}
    for step in range(1, 30):
        ema.before_step()
        with torch.no_grad():
            parameter.add_(0.5)
        ema.update(step)
        for decay, value in expected.items():
            d = decay_at(step, decay)
            expected[decay] = d * value + (1 - d) * parameter.detach().double()
    ema.finish()
    assert ema.decays == ["0.9", "0.5"]
    for decay, value in expected.items():
        torch.testing.assert_close(ema.averages[str(decay)]["w"].double(), value, rtol=1e-5, atol=1e-6)


def test_the_cpu_gives_the_very_bytes_of_the_device() -> None:
    """The copy is taken when `update` is called: weights that change while it is folded in change nothing."""
    parameter = nn.Parameter(torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    beside, offloaded = ema_of(parameter), ema_of(parameter, device="cpu")
    for step in range(1, 10):
        with torch.no_grad():
            parameter.mul_(1.1)
        beside.update(step)
        offloaded.update(step)
    offloaded.finish()
    assert torch.equal(beside.averages["0.9"]["w"], offloaded.averages["0.9"]["w"])


def test_seldom_updates_have_the_same_horizon() -> None:
    """Weights that jump once and stay: after n steps the old ones have kept decay ** n, however often one looks."""
    kept = []
    for every in (1, 5):
        parameter = nn.Parameter(torch.tensor([1.0]))
        ema = ema_of(parameter, every=every)
        with torch.no_grad():
            parameter.zero_()
        for step in range(1001, 1021):  # past the ramp
            ema.update(step)
        kept.append(ema.averages["0.9"]["w"].item())
    assert kept[0] == pytest.approx(0.9**20, rel=1e-5)
    assert kept[1] == pytest.approx(0.9**20, rel=1e-5)


@pytest.mark.parametrize("device", ["model", "cpu"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_swapped_and_back_changes_no_bit(dtype: torch.dtype, device: str) -> None:
    """Neither of the averages, which have more bits than bf16 weights, nor of the weights."""
    generator = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.randn(100, generator=generator).to(dtype))
    ema = ema_of(parameter, decays=[0.9, 0.5], device=device)
    for average in ema.averages.values():
        average["w"].copy_(torch.randn(100, generator=generator))
    weights, averages = parameter.detach().clone(), copy.deepcopy(ema.averages)
    with ema.swapped():
        assert torch.equal(parameter, averages["0.9"]["w"].to(dtype))
    with ema.swapped("0.5"):
        assert torch.equal(parameter, averages["0.5"]["w"].to(dtype))
    with pytest.raises(KeyError), ema.swapped():
        raise KeyError
    assert torch.equal(parameter, weights)
    for decay in ema.decays:
        assert torch.equal(ema.averages[decay]["w"], averages[decay]["w"])


def test_a_saved_average_goes_on_as_if_it_had_not_been_saved() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    ema = ema_of(parameter, decays=[0.9, 0.5])
    ema.update(1)
    again = ema_of(parameter, decays=[0.9, 0.5])
    again.load(copy.deepcopy(ema.averages))
    for each in (ema, again):
        with torch.no_grad():
            parameter.fill_(3.0)
        each.update(2)
    for decay in ema.decays:
        assert torch.equal(ema.averages[decay]["w"], again.averages[decay]["w"])


def test_bf16_weights_are_averaged_in_fp32() -> None:
    parameter = nn.Parameter(torch.tensor([1.0], dtype=torch.bfloat16))
    ema = ema_of(parameter, decays=[0.9999])
    with torch.no_grad():
        parameter.add_(1 / 128)
    for step in range(10_000, 10_100):
        ema.update(step)
    average = ema.averages["0.9999"]["w"]
    assert average.dtype == torch.float32
    assert 1.0 < average.item() < 1 + 1 / 128


def test_masters_are_averaged_where_there_are_some() -> None:
    parameter = nn.Parameter(torch.tensor([1.0], dtype=torch.bfloat16))
    groups = [{"params": [parameter], "param_names": ["w"], "name": "unet", "lr": 1e-4, "base_lr": 1e-4}]
    optimizer = Fp32Master(groups, lambda masters: torch.optim.SGD(masters, lr=1e-4))
    ema = Ema([("w", parameter)], EmaConfig(decays=(0.5,)), optimizer=optimizer)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert parameter.item() == 1.0, "the step is too small for bf16"
    ema.update(100)
    assert ema.averages["0.5"]["w"].item() == pytest.approx(1 - 0.5e-4, abs=1e-7)


def test_a_decay_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="names a decay twice"):
        EmaConfig(decays=(0.9, 0.9))
