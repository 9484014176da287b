"""The noise is normal, float32 and keyed by sample; x_t and v are diffusers', but exact in float32."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from animetune.diffusion.config import DiffusionConfig, MultiresNoise
from animetune.diffusion.noise import (
    add_noise,
    multires_noise,
    perturbed,
    sample_noise,
    sample_offset,
    training_noise,
)
from animetune.diffusion.schedule import noise_levels, noise_schedule, scaled_linear_alpha_bar
from animetune.diffusion.targets import split_prediction, training_target, velocity
from animetune.seeding import Purpose, SampleKeys, rng_for

SHAPE = (4, 16, 24)


def keys(rows, copies=None, *, seed=1, epoch=0):
    return SampleKeys(seed, epoch, rows, copies or [0] * len(rows))


def coefficients(t, *, zero_terminal_snr=False):
    schedule = noise_schedule(zero_terminal_snr=zero_terminal_snr)
    return {"alpha_t": schedule.alpha[t][:, None, None, None], "sigma_t": schedule.sigma[t][:, None, None, None]}


def test_noise_is_standard_normal_to_the_tails():
    noise = sample_noise(keys(range(400)), SHAPE)
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
    noise = sample_noise(keys(range(50)), SHAPE).flatten(1).double()
    correlation = torch.corrcoef(noise) - torch.eye(50, dtype=torch.float64)
    assert correlation.abs().max() < 5 / math.sqrt(noise.shape[1])


def test_noise_depends_on_the_sample_alone():
    together = sample_noise(keys([5, 9, 5], [0, 0, 1]), SHAPE)
    assert torch.equal(sample_noise(keys([9]), SHAPE)[0], together[1])
    assert not torch.equal(together[0], together[2])
    assert not torch.equal(sample_noise(keys([5], epoch=1), SHAPE)[0], together[0])
    assert not torch.equal(sample_noise(keys([5], seed=2), SHAPE)[0], together[0])


def test_offset_is_one_standard_normal_number_per_channel():
    offset = sample_offset(keys(range(5000)), 4)
    assert offset.shape == (5000, 4, 1, 1)
    assert offset.dtype == torch.float32
    assert offset.mean().item() == pytest.approx(0, abs=0.03)
    assert offset.std().item() == pytest.approx(1, abs=0.03)
    # another stream than the noise, whose first numbers it would else repeat
    assert not torch.equal(offset[:1].flatten(), sample_noise(keys([0]), (4,)).flatten())


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_x_t_and_velocity_are_those_of_diffusers(zero_terminal_snr):
    theirs = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=zero_terminal_snr,
    )
    t = torch.arange(1000)
    x_0, noise = sample_noise(keys(range(2000)), (4, 2, 2)).chunk(2)
    ours = coefficients(t, zero_terminal_snr=zero_terminal_snr)
    torch.testing.assert_close(add_noise(x_0, noise, **ours), theirs.add_noise(x_0, noise, t), rtol=0, atol=2e-5)
    torch.testing.assert_close(velocity(x_0, noise, **ours), theirs.get_velocity(x_0, noise, t), rtol=0, atol=2e-5)


def test_bfloat16_latents_are_noised_in_float32():
    # diffusers casts alpha_bar to the latents' type: in bfloat16 no noise at all is added at t = 0 and 1, and over the
    # first fifty timesteps its strength is wrong by 7 % on average.
    t = torch.arange(50)
    x_0 = sample_noise(keys(range(50)), SHAPE).bfloat16()
    noise = sample_noise(keys(range(50), [1] * 50), SHAPE)
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
    x_0, noise = sample_noise(keys(range(200)), SHAPE).double().chunk(2)
    c = {name: value.double() for name, value in coefficients(t, zero_terminal_snr=prediction == "v").items()}
    target = training_target(x_0, noise, prediction=prediction, **c)
    found_x_0, found_noise = split_prediction(add_noise(x_0, noise, **c), target, prediction=prediction, **c)
    # alpha^2 + sigma^2 = 1 to the rounding of the float32 tables
    torch.testing.assert_close(found_x_0, x_0, rtol=0, atol=1e-6)
    torch.testing.assert_close(found_noise, noise, rtol=0, atol=1e-6)


def test_pure_noise_has_velocity_minus_x_0():
    x_0, noise = sample_noise(keys([0]), SHAPE), sample_noise(keys([1]), SHAPE)
    last = coefficients(torch.tensor([999]), zero_terminal_snr=True)
    assert torch.equal(velocity(x_0, noise, **last), -x_0)
    assert torch.equal(add_noise(x_0, noise, **last), noise)


def test_flow_is_that_of_diffusers():
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    t = scheduler.timesteps[::7]
    x_0, noise = sample_noise(keys(range(2 * len(t))), (4, 2, 2)).chunk(2)
    levels = noise_levels(t, DiffusionConfig(prediction="flow"))
    x_t = add_noise(x_0, noise, alpha_t=levels.alpha, sigma_t=levels.sigma)
    torch.testing.assert_close(x_t, scheduler.scale_noise(x_0, t, noise), rtol=0, atol=1e-6)
    assert torch.equal(levels.timesteps, t)


def test_a_perfect_flow_gives_back_x_0_and_noise():
    levels = noise_levels(torch.linspace(0, 1000, 100), DiffusionConfig(prediction="flow"))
    c = {"alpha_t": levels.alpha.double(), "sigma_t": levels.sigma.double()}
    x_0, noise = sample_noise(keys(range(200)), SHAPE).double().chunk(2)
    target = training_target(x_0, noise, prediction="flow", **c)
    assert torch.equal(target, noise - x_0)
    found_x_0, found_noise = split_prediction(add_noise(x_0, noise, **c), target, prediction="flow", **c)
    torch.testing.assert_close(found_x_0, x_0, rtol=0, atol=1e-6)
    torch.testing.assert_close(found_noise, noise, rtol=0, atol=1e-6)


def whitaker(white, rng, levels, discount):
    """The published function, before its division by the batch's deviation; one sample, its draws from `rng`."""
    channels, height, width = white.shape
    upsample = torch.nn.Upsample(size=(height, width), mode="bilinear")
    total = white * 2**0.5  # the noise, and its first level, which is as fine
    for i in range(1, levels):
        r = rng.random() * 2 + 2
        rows, columns = max(1, int(height / r**i)), max(1, int(width / r**i))
        coarse = torch.from_numpy(rng.standard_normal((channels, rows, columns), dtype=np.float32))
        total = total + upsample(coarse[None])[0] * discount**i
        if rows == 1 or columns == 1:
            break
    return total


@pytest.mark.parametrize("shape", [(4, 128, 128), (4, 40, 16), (4, 1, 9)])
def test_multires_noise_is_the_published_one_up_to_its_scale(shape):
    white = sample_noise(keys([3, 4]), shape)
    ours = multires_noise(white, keys([3, 4]), MultiresNoise(levels=8, discount=0.8))
    for row, found, one in zip([3, 4], ours, white, strict=True):
        theirs = whitaker(one, rng_for(1, Purpose.MULTIRES, 0, row, 0), 8, 0.8)
        scale = (theirs * found).sum() / found.square().sum()
        torch.testing.assert_close(found * scale, theirs, rtol=0, atol=1e-5)


def test_multires_noise_has_unit_variance_and_large_patches():
    count = 1500
    many = keys(range(count))
    white = sample_noise(many, (4, 24, 16))
    noise = multires_noise(white, many, MultiresNoise(levels=6, discount=0.8)).double()
    # the mean over a picture of squares; coarse levels make it spread widely around 1
    squares = noise.square().mean(dim=(1, 2, 3))
    assert squares.mean().item() == pytest.approx(1, abs=4 * squares.std().item() / count**0.5)
    assert noise.mean().item() == pytest.approx(0, abs=4 * noise.mean(dim=(1, 2, 3)).std().item() / count**0.5)
    # white noise's mean over a channel of 384 cells has variance 1 / 384
    assert noise.mean(dim=(2, 3)).square().mean().item() > 20 / 384
    # neighbours are alike
    assert (noise[..., 1:] * noise[..., :-1]).mean().item() > 0.1


def test_multires_noise_depends_on_the_sample_alone():
    cfg = MultiresNoise()
    together = multires_noise(sample_noise(keys([5, 6]), SHAPE), keys([5, 6]), cfg)
    alone = multires_noise(sample_noise(keys([6]), SHAPE), keys([6]), cfg)
    assert torch.equal(together[1], alone[0])


def test_offset_comes_on_top_of_multires_noise():
    cfg = DiffusionConfig(multires=MultiresNoise(), noise_offset=0.1)
    shaped = multires_noise(sample_noise(keys([5]), SHAPE), keys([5]), MultiresNoise())
    expected = shaped + 0.1 * sample_offset(keys([5]), 4)
    torch.testing.assert_close(training_noise(keys([5]), SHAPE, cfg), expected)
    assert torch.equal(training_noise(keys([5]), SHAPE, DiffusionConfig()), sample_noise(keys([5]), SHAPE))


def test_perturbation_is_other_noise_of_the_given_strength():
    many = keys(range(300))
    noise = sample_noise(many, SHAPE)
    assert perturbed(noise, many, DiffusionConfig()) is noise
    xi = (perturbed(noise, many, DiffusionConfig(input_perturbation=0.1)) - noise).double() / 0.1
    assert xi.std().item() == pytest.approx(1, abs=0.01)
    assert (xi * noise).mean().item() == pytest.approx(0, abs=0.01)


def test_perturbation_of_random_strength_is_uniform_and_by_sample():
    many = keys(range(2000))
    noise = sample_noise(many, (4, 8, 8))
    cfg = DiffusionConfig(input_perturbation=0.1, input_perturbation_random=True)
    strengths = (perturbed(noise, many, cfg) - noise).double().flatten(1).std(dim=1)
    assert strengths.max().item() < 0.12
    assert strengths.mean().item() == pytest.approx(0.05, abs=0.003)
    assert strengths.quantile(0.25).item() == pytest.approx(0.025, abs=0.004)
    # the strength says nothing about the noise
    alone = perturbed(noise[7:8], keys([7]), cfg)
    assert torch.equal(alone[0], perturbed(noise, many, cfg)[7])
