"""The noise is normal, float32 and keyed by sample; x_t and v are diffusers', but exact in float32."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler

from animetune.diffusion.noise import add_noise, sample_noise, sample_offset
from animetune.diffusion.schedule import noise_schedule, scaled_linear_alpha_bar
from animetune.diffusion.targets import split_prediction, training_target, velocity

SHAPE = (4, 16, 24)
KEY = {"seed": 1, "epoch": 0}


def coefficients(t, *, zero_terminal_snr=False):
    schedule = noise_schedule(zero_terminal_snr=zero_terminal_snr)
    return {"alpha_t": schedule.alpha[t][:, None, None, None], "sigma_t": schedule.sigma[t][:, None, None, None]}


def test_noise_is_standard_normal_to_the_tails():
    noise = sample_noise(range(400), [0] * 400, SHAPE, **KEY)
    assert noise.dtype == torch.float32
    x = noise.flatten().double()
    n = len(x)
    assert abs(x.mean().item()) < 4 / math.sqrt(n)
    assert abs(x.var().item() - 1) < 4 * math.sqrt(2 / n)
    assert abs(x.pow(3).mean().item()) < 4 * math.sqrt(15 / n)
    assert abs(x.pow(4).mean().item() - 3) < 4 * math.sqrt(96 / n)
    # Kolmogorov-Smirnov; 1.95 is exceeded once in a thousand
    empirical = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    distance = (torch.special.ndtr(x.sort().values) - empirical).abs().max().item()
    assert distance * math.sqrt(n) < 1.95
    # 600,000 draws reach 4.5 sigma, and no value is repeated much: half precision would fail both
    assert x.abs().max() > 4.5
    assert len(x.float().unique()) > 0.95 * n


def test_samples_and_channels_are_independent():
    noise = sample_noise(range(50), [0] * 50, SHAPE, **KEY).flatten(1).double()
    correlation = torch.corrcoef(noise) - torch.eye(50, dtype=torch.float64)
    assert correlation.abs().max() < 5 / math.sqrt(noise.shape[1])


def test_noise_depends_on_the_sample_alone():
    together = sample_noise([5, 9, 5], [0, 0, 1], SHAPE, **KEY)
    assert torch.equal(sample_noise([9], [0], SHAPE, **KEY)[0], together[1])
    assert not torch.equal(together[0], together[2])
    assert not torch.equal(sample_noise([5], [0], SHAPE, seed=1, epoch=1)[0], together[0])
    assert not torch.equal(sample_noise([5], [0], SHAPE, seed=2, epoch=0)[0], together[0])


def test_offset_is_one_standard_normal_number_per_channel():
    offset = sample_offset(range(5000), [0] * 5000, 4, **KEY)
    assert offset.shape == (5000, 4, 1, 1)
    assert offset.dtype == torch.float32
    assert offset.mean().item() == pytest.approx(0, abs=0.03)
    assert offset.std().item() == pytest.approx(1, abs=0.03)
    # another stream than the noise, whose first numbers it would else repeat
    assert not torch.equal(offset[:1].flatten(), sample_noise([0], [0], (4,), **KEY).flatten())


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_x_t_and_velocity_are_those_of_diffusers(zero_terminal_snr):
    theirs = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=zero_terminal_snr,
    )
    t = torch.arange(1000)
    x_0, noise = sample_noise(range(2000), [0] * 2000, (4, 2, 2), **KEY).chunk(2)
    ours = coefficients(t, zero_terminal_snr=zero_terminal_snr)
    torch.testing.assert_close(add_noise(x_0, noise, **ours), theirs.add_noise(x_0, noise, t), rtol=0, atol=2e-5)
    torch.testing.assert_close(velocity(x_0, noise, **ours), theirs.get_velocity(x_0, noise, t), rtol=0, atol=2e-5)


def test_bfloat16_latents_are_noised_in_float32():
    # diffusers casts alpha_bar to the latents' type: in bfloat16 no noise at all is added at t = 0 and 1, and over the
    # first fifty timesteps its strength is wrong by 7 % on average.
    t = torch.arange(50)
    x_0 = sample_noise(range(50), [0] * 50, SHAPE, **KEY).bfloat16()
    noise = sample_noise(range(50), [1] * 50, SHAPE, **KEY)
    x_t = add_noise(x_0, noise, **coefficients(t))
    assert x_t.dtype == torch.float32
    alpha_bar = scaled_linear_alpha_bar()[:50, None, None, None]
    exact = alpha_bar.sqrt() * x_0.double() + (1 - alpha_bar).sqrt() * noise.double()
    torch.testing.assert_close(x_t.double(), exact, rtol=0, atol=1e-6)
    added = (x_t.double() - alpha_bar.sqrt() * x_0.double()).flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    torch.testing.assert_close(added, (1 - alpha_bar).sqrt().flatten(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_a_perfect_prediction_gives_back_x_0_and_noise(prediction):
    t = torch.arange(0, 1000, 10)
    x_0, noise = sample_noise(range(200), [0] * 200, SHAPE, **KEY).double().chunk(2)
    c = {name: value.double() for name, value in coefficients(t, zero_terminal_snr=prediction == "v").items()}
    target = training_target(x_0, noise, prediction=prediction, **c)
    found_x_0, found_noise = split_prediction(add_noise(x_0, noise, **c), target, prediction=prediction, **c)
    # alpha^2 + sigma^2 = 1 to the rounding of the float32 tables
    torch.testing.assert_close(found_x_0, x_0, rtol=0, atol=1e-6)
    torch.testing.assert_close(found_noise, noise, rtol=0, atol=1e-6)


def test_pure_noise_has_velocity_minus_x_0():
    x_0, noise = sample_noise([0], [0], SHAPE, **KEY), sample_noise([1], [0], SHAPE, **KEY)
    last = coefficients(torch.tensor([999]), zero_terminal_snr=True)
    assert torch.equal(velocity(x_0, noise, **last), -x_0)
    assert torch.equal(add_noise(x_0, noise, **last), noise)
