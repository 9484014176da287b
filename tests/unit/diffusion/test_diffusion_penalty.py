"""What an error costs: by hand, against sd-scripts' own form of pseudo-Huber in float64, and under masks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from animetune.diffusion.config import DiffusionConfig, HuberLoss, SmoothL1Loss, SquaredLoss
from animetune.diffusion.penalty import cell_loss, huber_c, sample_means
from animetune.diffusion.schedule import noise_levels

V_ZERO = DiffusionConfig(prediction="v", zero_terminal_snr=True)
FLOW = DiffusionConfig(prediction="flow")


def levels(*times, cfg=V_ZERO):
    return noise_levels(torch.tensor(times), cfg)


def test_squares():
    error = torch.tensor([-3.0, 0.5])[:, None, None, None]
    assert cell_loss(error, SquaredLoss(), levels(0, 500)).flatten().tolist() == [9.0, 0.25]


def test_pseudo_huber_by_hand():
    # a triangle of 3, 4, 5: sqrt(0.4^2 + 0.3^2) - 0.3 = 0.2
    error = torch.tensor([0.4])[:, None, None, None]
    constant = {"c": 0.3, "schedule": "constant"}
    assert cell_loss(error, HuberLoss(**constant), levels(7)).item() == pytest.approx(2 * 0.3 * 0.2)
    assert cell_loss(error, SmoothL1Loss(**constant), levels(7)).item() == pytest.approx(2 * 0.2)


@given(error=st.floats(-100, 100), c=st.floats(0.01, 1))
def test_pseudo_huber_is_that_of_sd_scripts(error, c):
    theirs = 2 * (math.sqrt(error**2 + c**2) - c)
    e = torch.tensor([error], dtype=torch.float64)[:, None, None, None]
    at = levels(3)._replace(snr=torch.ones(1, dtype=torch.float64))
    smooth = cell_loss(e, SmoothL1Loss(c=c, schedule="constant"), at).item()
    assert smooth == pytest.approx(theirs, rel=1e-9, abs=1e-13)
    assert cell_loss(e, HuberLoss(c=c, schedule="constant"), at).item() == pytest.approx(
        c * theirs, rel=1e-9, abs=1e-13
    )
    # never more than the square, and than twice c or once the absolute value
    assert smooth <= min(error**2 / c, 2 * abs(error)) * (1 + 1e-12)


def test_small_errors_in_float32_keep_their_digits():
    # sqrt(e^2 + c^2) - c in float32 is 0 here
    error = torch.tensor([1e-5])[:, None, None, None]
    assert cell_loss(error, HuberLoss(c=0.5, schedule="constant"), levels(1)).item() == pytest.approx(1e-10, rel=1e-5)


def test_gradient_is_finite_where_the_error_is_zero():
    error = torch.zeros(1, 1, 1, 2, requires_grad=True)
    cell_loss(error, HuberLoss(), levels(400)).sum().backward()
    assert error.grad.abs().max() == 0


def test_schedules_by_hand():
    exponential = huber_c(HuberLoss(c=0.1, schedule="exponential"), levels(0, 500, 999))
    torch.testing.assert_close(exponential, torch.tensor([1.0, 0.1**0.5, 0.1**0.999]))
    # of a flow sigma / alpha = t / (1 - t): 1/3 at 250, 1 at 500
    snr = huber_c(HuberLoss(c=0.1, schedule="snr"), levels(250.0, 500.0, 1000.0, cfg=FLOW))
    torch.testing.assert_close(snr, torch.tensor([0.9 * 9 / 16 + 0.1, 0.9 / 4 + 0.1, 0.1]))
    assert huber_c(HuberLoss(c=0.1, schedule="snr"), levels(999)).item() == pytest.approx(0.1)
    assert huber_c(HuberLoss(c=0.1, schedule="snr"), levels(0)).item() == pytest.approx(
        0.9 / (1 + (0.00085 / 0.99915) ** 0.5) ** 2 + 0.1, rel=1e-6
    )
    assert huber_c(HuberLoss(c=0.3, schedule="constant"), levels(0, 999)).tolist() == pytest.approx([0.3, 0.3])


def test_masks_by_hand():
    losses = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[8.0, 8.0], [8.0, 8.0]]]])
    masks = torch.tensor([[[[1.0, 0.0], [0.0, 0.5]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    assert sample_means(losses, None, normalize=True).tolist() == [2.5, 8.0]
    assert sample_means(losses, masks, normalize=False).tolist() == [3 / 4, 0.0]
    assert sample_means(losses, masks, normalize=True).tolist() == pytest.approx([3 / 1.5, 0.0])


@given(share=st.floats(0.01, 1), level=st.floats(0, 10))
def test_an_even_loss_is_its_own_normalized_mean(share, level):
    losses, masks = torch.full((1, 4, 6, 6), level), torch.full((1, 1, 6, 6), share)
    assert sample_means(losses, masks, normalize=True).item() == pytest.approx(level, rel=1e-5)
    assert sample_means(losses, masks, normalize=False).item() == pytest.approx(level * share, rel=1e-5, abs=1e-9)
