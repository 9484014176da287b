"""Our Adafactor against transformers', the paper in float64, and its own promises about types, stacks and state."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from transformers.optimization import Adafactor as Reference

from animetune.models.sdxl import build_network, sdxl_configs
from animetune.train.optim import adafactor
from animetune.train.optim.adafactor import Adafactor

SHAPES = [
    (40, 24), (24,), (), (1,), (6, 4, 3, 3), (5, 7, 1, 1), (3, 5, 9, 11), (7, 5, 4), (110, 300), (24,), (40, 24),
    (2, 2, 3, 3), (6, 4, 3, 3), (1, 5), (5, 1),
]  # fmt: skip
"""Every kind of tensor, some of them twice, so that there are stacks."""


def train(make, *, steps: int = 50, dtype: torch.dtype = torch.float32, shapes=SHAPES, zeros: float = 0.1, scale=1.0):
    """Parameters and optimizer after steps with gradients of varying size, some of whose elements are 0."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]
    optimizer = make(parameters)
    for step in range(steps):
        for parameter in parameters:
            gradient = torch.randn(parameter.shape, generator=generator) * (0.1 + step % 3) * scale
            gradient *= torch.rand(parameter.shape, generator=generator) >= zeros
            parameter.grad = gradient.to(dtype)
        optimizer.step()
    return parameters, optimizer


def reference(parameters, **settings):
    settings = {"lr": 1e-2, "scale_parameter": False, **settings}
    return Reference(parameters, relative_step=False, warmup_init=False, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_decay": 0.1},
        {"beta1": 0.9},
        {"scale_parameter": True},
        {"clip_threshold": 0.3},
        {"decay_rate": -0.5, "eps": (1e-6, 0.5), "scale_parameter": True},
        {"beta1": 0.8, "weight_decay": 0.01, "scale_parameter": True},
    ],
    ids=str,
)
def test_trajectory_and_state_are_those_of_transformers(settings: dict) -> None:
    expected, theirs = train(lambda parameters: reference(parameters, **settings))
    found, ours = train(lambda parameters: Adafactor(parameters, **{"lr": 1e-2, **settings}))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-6)
        for key, value in theirs.state[a].items():
            if key not in ("RMS", "step"):
                torch.testing.assert_close(ours.state[b][key], value, rtol=1e-5, atol=1e-6)
        assert ours.state[b]["step"] == theirs.state[a]["step"] == 50


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6])
def test_gradients_far_from_one(scale: float) -> None:
    expected, _ = train(reference, scale=scale, steps=10)
    found, _ = train(lambda parameters: Adafactor(parameters, 1e-2), scale=scale, steps=10)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6)


def test_gradients_that_are_all_zero_change_nothing() -> None:
    found, _ = train(lambda parameters: Adafactor(parameters, 1e-2), zeros=1.1, steps=3)
    begun, _ = train(lambda parameters: Adafactor(parameters, 1e-2), steps=0)
    assert all(torch.equal(a, b) for a, b in zip(found, begun, strict=True))


def test_a_flattened_convolution_is_the_matrix_that_it_is_flattened_to() -> None:
    convolutions = [(6, 4, 3, 3), (5, 7, 1, 1), (6, 4, 3, 3), (80, 60, 3, 3)]
    matrices = [(shape[0], math.prod(shape[1:])) for shape in convolutions]
    expected, _ = train(reference, shapes=matrices)
    found, optimizer = train(lambda each: Adafactor(each, 1e-2, flatten_convolutions=True), shapes=convolutions)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b.flatten(1), a, rtol=1e-6, atol=1e-6)
    assert optimizer.state[found[0]]["exp_avg_sq_row"].shape == (6,)
    assert optimizer.state[found[0]]["exp_avg_sq_col"].shape == (36,)


def test_one_step_by_hand() -> None:
    """G = [[1, 2], [3, 4]]: R = (2.5, 12.5), C = (5, 10), mean 7.5; U_11 = 1 / sqrt(2.5 * 5 / 7.5)."""
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    Adafactor([weight], 1.0, clip_threshold=10.0).step()
    expected = [[-1 / math.sqrt(12.5 / 7.5), -2 / math.sqrt(25 / 7.5)], [-3 / math.sqrt(62.5 / 7.5), -4 / math.sqrt(125 / 7.5)]]  # fmt: skip  # noqa: E501
    torch.testing.assert_close(weight.detach(), torch.tensor(expected))


def test_state_of_the_real_unet() -> None:
    """0.98 GB as transformers factors it, 0.02 GB flattened."""
    with torch.device("meta"):
        unet = build_network(sdxl_configs(), "unet")
    for flatten, expected in ((False, 0.98), (True, 0.02)):
        optimizer = Adafactor(unet.parameters(), 1e-5, flatten_convolutions=flatten)
        (group,) = optimizer.param_groups
        states = [optimizer.fresh_state(group, parameter) for parameter in unet.parameters()]
        tensors = [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
        assert sum(4 * tensor.numel() for tensor in tensors) / 1e9 == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("settings", [{}, {"beta1": 0.9, "weight_decay": 0.1}], ids=str)
def test_tiles_and_stacks_change_no_more_than_a_rounding(settings: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = train(lambda parameters: Adafactor(parameters, 1e-2, **settings), steps=10)
    monkeypatch.setattr(adafactor, "TILE", {"cpu": 100, "cuda": 100})
    tiled, _ = train(lambda parameters: Adafactor(parameters, 1e-2, **settings), steps=10)
    for a, b in zip(whole, tiled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_which_tensors_step_together_changes_no_bit() -> None:
    together, _ = train(lambda parameters: Adafactor(parameters, 1e-2), steps=5)

    class OneByOne:
        def __init__(self, parameters):
            self.optimizers = [Adafactor([parameter], 1e-2) for parameter in parameters]

        def step(self):
            for optimizer in self.optimizers:
                optimizer.step()

    apart, _ = train(OneByOne, steps=5)
    assert all(torch.equal(a, b) for a, b in zip(together, apart, strict=True))


def test_channels_last_weights() -> None:
    def make(parameters):
        for parameter in parameters:
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return Adafactor(parameters, 1e-2, weight_decay=0.1)

    expected, _ = train(lambda parameters: Adafactor(parameters, 1e-2, weight_decay=0.1), steps=5)
    found, _ = train(make, steps=5)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-6)
    assert not found[4].is_contiguous()


@pytest.mark.parametrize("flatten", [False, True])
def test_bf16_is_the_fp32_step_rounded(flatten: bool) -> None:
    """Within one spacing of bf16 above or below, of the same gradients; and both happen."""
    settings = {"lr": 1e-2, "weight_decay": 0.1, "flatten_convolutions": flatten}
    rounded, optimizer = train(lambda each: Adafactor(each, seed=3, **settings), steps=1, dtype=torch.bfloat16)

    generator = torch.Generator().manual_seed(0)
    exact = [nn.Parameter(torch.randn(shape, generator=generator).bfloat16().float()) for shape in SHAPES]
    reference = Adafactor(exact, **settings)
    for parameter in exact:
        gradient = torch.randn(parameter.shape, generator=generator) * 0.1
        parameter.grad = (gradient * (torch.rand(parameter.shape, generator=generator) >= 0.1)).bfloat16().float()
    reference.step()
    above = below = 0
    for a, b in zip(exact, rounded, strict=True):
        difference = b.detach().float() - a.detach()
        spacing = torch.exp2(torch.floor(torch.log2(a.detach().abs().clamp(min=1e-30))) - 7)
        assert (difference.abs() <= spacing * (1 + 1e-4)).all()
        above += int((difference > 0.55 * spacing).sum())
        below += int((difference < -0.55 * spacing).sum())
        assert {value.dtype for value in optimizer.state[b].values() if isinstance(value, torch.Tensor)} == {
            torch.float32
        }
    assert above > 1000
    assert below > 1000


def test_load_state_dict_keeps_fp32_state_of_bf16_weights() -> None:
    parameters, optimizer = train(lambda each: Adafactor(each, 1e-2, seed=1), steps=3, dtype=torch.bfloat16)
    fresh = Adafactor([nn.Parameter(each.detach().clone()) for each in parameters], 1e-2, seed=1)
    fresh.load_state_dict(optimizer.state_dict())
    for a, b in zip(parameters, fresh.param_groups[0]["params"], strict=True):
        for key, value in optimizer.state[a].items():
            loaded = fresh.state[b][key]
            assert torch.equal(loaded, value) if isinstance(value, torch.Tensor) else loaded == value
