"""The moving average against its recurrence in float64."""

from __future__ import annotations

import torch
from torch import nn

from animetune.train.ema import Ema, decay_at


def test_decay_ramps_up_to_its_limit() -> None:
    assert decay_at(1, 0.999) == 2 / 11
    assert decay_at(10**6, 0.999) == 0.999


def test_update_is_the_recurrence() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    ema = Ema([("w", parameter)], decay=0.9)
    expected = parameter.detach().double()
    for step in range(1, 30):
        with torch.no_grad():
            parameter.add_(0.5)
        ema.update(step)
        d = decay_at(step, 0.9)
        expected = d * expected + (1 - d) * parameter.detach().double()
    torch.testing.assert_close(ema.shadow["w"].double(), expected, rtol=1e-5, atol=1e-6)


def test_swap_twice_changes_nothing() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.bfloat16))
    ema = Ema([("w", parameter)], decay=0.9)
    ema.shadow["w"].fill_(7.0)
    ema.swap()
    assert parameter.tolist() == [7.0, 7.0]
    ema.swap()
    assert parameter.tolist() == [1.0, 2.0]
    assert ema.shadow["w"].tolist() == [7.0, 7.0]


def test_bf16_weights_are_averaged_in_fp32() -> None:
    parameter = nn.Parameter(torch.tensor([1.0], dtype=torch.bfloat16))
    ema = Ema([("w", parameter)], decay=0.9999)
    with torch.no_grad():
        parameter.add_(1 / 128)
    for step in range(10_000, 10_100):
        ema.update(step)
    assert ema.shadow["w"].dtype == torch.float32
    assert 1.0 < ema.shadow["w"].item() < 1 + 1 / 128
