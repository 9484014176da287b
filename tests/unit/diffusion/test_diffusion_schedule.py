"""The schedule against hand numbers, float64 and diffusers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from animetune.diffusion.schedule import (
    BETA_END,
    BETA_START,
    NUM_TIMESTEPS,
    noise_schedule,
    rescale_zero_terminal_snr,
    scaled_linear_alpha_bar,
)

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
