"""The schedule against hand numbers, float64 and diffusers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from hypothesis import given
from hypothesis import strategies as st

from animetune.diffusion.config import DiffusionConfig
from animetune.diffusion.schedule import (
    BETA_END,
    BETA_START,
    NUM_TIMESTEPS,
    noise_levels,
    noise_schedule,
    rescale_zero_terminal_snr,
    scaled_linear_alpha_bar,
    shift_time,
)
from animetune.records import Size

SDXL = {"beta_start": BETA_START, "beta_end": BETA_END, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_schedule_is_that_of_diffusers(zero_terminal_snr):
    theirs = DDPMScheduler(**SDXL, rescale_betas_zero_snr=zero_terminal_snr)
    ours = noise_schedule(zero_terminal_snr=zero_terminal_snr)
    torch.testing.assert_close(ours.alpha**2, theirs.alphas_cumprod, rtol=2e-5, atol=1e-7)
    snr = compute_snr(theirs, torch.arange(NUM_TIMESTEPS))
    torch.testing.assert_close(ours.snr, snr, rtol=1e-4, atol=1e-9)


def test_schedule_in_numpy_float64():
    beta = (np.sqrt(0.00085) + np.arange(1000) / 999 * (np.sqrt(0.012) - np.sqrt(0.00085))) ** 2
    alpha_bar = np.multiply.accumulate(1 - beta)
    schedule = noise_schedule(zero_terminal_snr=False)
    np.testing.assert_allclose(schedule.alpha.numpy(), np.sqrt(alpha_bar), rtol=6e-8)
    np.testing.assert_allclose(schedule.sigma.numpy(), np.sqrt(1 - alpha_bar), rtol=6e-8)
    np.testing.assert_allclose(schedule.snr.numpy(), alpha_bar / (1 - alpha_bar), rtol=6e-8)


def test_corners_by_hand():
    schedule = noise_schedule(zero_terminal_snr=False)
    # alpha_bar_0 = 1 - 0.00085
    assert schedule.snr[0].item() == pytest.approx(0.99915 / 0.00085, rel=1e-6)
    assert schedule.snr[0].item() == pytest.approx(1175, abs=1)
    assert schedule.snr[-1].item() == pytest.approx(0.0047, abs=5e-5)
    assert schedule.alpha.dtype == schedule.sigma.dtype == schedule.snr.dtype == torch.float32


def test_zero_terminal_snr_ends_in_pure_noise():
    schedule = noise_schedule(zero_terminal_snr=True)
    assert schedule.alpha[-1] == 0
    assert schedule.snr[-1] == 0
    assert schedule.sigma[-1] == 1
    assert schedule.snr[998].item() == pytest.approx(2e-7, rel=0.05)
    assert torch.isfinite(schedule.snr).all()


def test_snr_table_is_taken_after_the_rescale():
    # A table made before it is what sd-scripts used: these ratios would all be 1.
    ratio = noise_schedule(zero_terminal_snr=True).snr / noise_schedule(zero_terminal_snr=False).snr
    assert ratio[500].item() == pytest.approx(0.83, abs=0.005)
    assert ratio[900].item() == pytest.approx(0.21, abs=0.005)
    assert ratio[990].item() == pytest.approx(0.003, abs=0.0005)


def test_rescale_keeps_the_first_and_is_idempotent():
    once = rescale_zero_terminal_snr(scaled_linear_alpha_bar())
    assert once[0].item() == pytest.approx(1 - BETA_START, rel=1e-14)
    assert (once.diff() < 0).all()
    torch.testing.assert_close(rescale_zero_terminal_snr(once), once, rtol=1e-14, atol=0)


def test_tables_made_in_inference_mode_serve_training():
    noise_schedule.cache_clear()
    with torch.inference_mode():
        noise_schedule(zero_terminal_snr=False)
    weight = noise_schedule(zero_terminal_snr=False).snr[torch.tensor([3, 500])]
    parameter = torch.ones(2, requires_grad=True)
    (weight * parameter).sum().backward()
    torch.testing.assert_close(parameter.grad, weight)


def test_levels_are_rows_of_the_tables():
    levels = noise_levels(torch.tensor([0.0, 499.99, 999.999]), DiffusionConfig(prediction="v", zero_terminal_snr=True))
    schedule = noise_schedule(zero_terminal_snr=True)
    assert levels.timesteps.tolist() == [0, 499, 999]
    assert levels.timesteps.dtype == torch.int64
    assert levels.alpha.shape == levels.sigma.shape == (3, 1, 1, 1)
    assert torch.equal(levels.alpha.flatten(), schedule.alpha[levels.timesteps])
    assert torch.equal(levels.snr, schedule.snr[levels.timesteps])


def test_levels_of_a_flow_by_hand():
    levels = noise_levels(torch.tensor([0, 250, 999.5, 1000]), DiffusionConfig(prediction="flow"))
    assert levels.timesteps.tolist() == pytest.approx([0.001, 250, 999.5, 1000])
    assert levels.sigma.flatten().tolist() == pytest.approx([1e-6, 0.25, 0.9995, 1])
    assert levels.alpha.flatten().tolist() == pytest.approx([1 - 1e-6, 0.75, 0.0005, 0])
    assert levels.snr[1:].tolist() == pytest.approx([9, (0.0005 / 0.9995) ** 2, 0])
    assert {tensor.dtype for tensor in levels} == {torch.float32}
    assert torch.isfinite(levels.snr).all()


@given(t=st.floats(0.001, 0.999), shift=st.floats(0.1, 20), other=st.floats(0.1, 20))
def test_shifts_divide_the_root_of_the_signal_to_noise_ratio_and_multiply(t, shift, other):
    time = torch.tensor(t, dtype=torch.float64)
    shifted = shift_time(time, shift)
    assert ((1 - shifted) / shifted).item() == pytest.approx((1 - t) / t / shift, rel=1e-9)
    torch.testing.assert_close(shift_time(shifted, other), shift_time(time, shift * other), rtol=1e-12, atol=0)
    torch.testing.assert_close(shift_time(shifted, 1 / shift), time, rtol=1e-12, atol=0)


def test_shift_by_hand_and_at_the_ends():
    time = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert shift_time(time, 3).tolist() == [0, 0.75, 1]
    for shift in (0.1, 1 / 3, 1.0, 2.7, 12.0):
        assert shift_time(time, shift)[[0, 2]].tolist() == [0, 1]


def test_shift_grows_with_the_root_of_the_area():
    by_area = DiffusionConfig(prediction="flow", shift=3, shift_by_area=True)
    assert by_area.shift_at(Size(1024, 1024)) == 3
    assert by_area.shift_at(Size(2048, 512)) == 3
    assert by_area.shift_at(Size(1536, 1536)) == pytest.approx(4.5)
    assert DiffusionConfig(prediction="flow", shift=3).shift_at(Size(1536, 1536)) == 3
