"""The samplers: step for step diffusers', exact on Gaussian data, one stream of noise per picture."""

from __future__ import annotations

import itertools

import diffusers.schedulers.scheduling_euler_ancestral_discrete as ancestral_module
import numpy as np
import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.diffusion.sampler import Start, denoise, sample
from animetune.diffusion.schedule import noise_schedule
from animetune.diffusion.stops import spaced_timesteps, stops
from animetune.errors import ConfigError
from animetune.records import Size
from animetune.seeding import Purpose, rng_for
from tests.unit.diffusion.gaussian_denoiser import SIZE, GaussianDenoiser, tokens

# diffusers hands a tensor to numpy.array
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPE = (4, SIZE.height // 8, SIZE.width // 8)


def draw(models, means, sampler, *, negatives=None, seeds=None, size=SIZE, shift=1.0):
    return sample(
        models,
        tokens(*means),
        negative_ids=tokens(*(negatives or [0.0] * len(means))),
        seeds=seeds or list(range(len(means))),
        size=size,
        diffusion=DiffusionConfig(
            prediction=models.prediction, zero_terminal_snr=models.zero_terminal_snr, shift=shift
        ),
        sampler=sampler,
    )


def first_noise(seeds):
    return torch.from_numpy(
        np.stack([rng_for(seed, Purpose.SAMPLE).standard_normal(SHAPE, dtype=np.float32) for seed in seeds])
    )


def diffusers_loop(models, means, sampler, *, negatives, seeds, monkeypatch):
    """The loop that diffusers' SDXL pipeline runs, with its scheduler and our noise."""
    scheduler_type = EulerAncestralDiscreteScheduler if sampler.name == "euler_ancestral" else EulerDiscreteScheduler
    scheduler = scheduler_type(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing=sampler.spacing,
        prediction_type="epsilon" if models.prediction == "epsilon" else "v_prediction",
        rescale_betas_zero_snr=models.zero_terminal_snr,
    )
    scheduler.set_timesteps(sampler.steps)
    rngs = [rng_for(seed, Purpose.SAMPLE) for seed in seeds]

    def noise(*_, **__):
        return torch.from_numpy(np.stack([rng.standard_normal(SHAPE, dtype=np.float32) for rng in rngs]))

    monkeypatch.setattr(ancestral_module, "randn_tensor", noise)
    x = noise() * (scheduler.sigmas[0] ** 2 + 1) ** 0.5
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        t_batch = torch.full((len(means),), int(t), dtype=torch.int64)
        positive = models.predict(scaled, t_batch, models.encode_text(tokens(*means)), None)
        negative = models.predict(scaled, t_batch, models.encode_text(tokens(*negatives)), None)
        x = scheduler.step(negative + sampler.cfg_scale * (positive - negative), t, x).prev_sample
    return x


@pytest.mark.parametrize("name", ["euler", "euler_ancestral"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("steps", [1, 7, 28])
def test_same_as_diffusers(name, spacing, prediction, steps, monkeypatch):
    sampler = SamplerConfig(name=name, spacing=spacing, steps=steps, cfg_scale=4.0)
    models = GaussianDenoiser(0.6, prediction)
    means, negatives, seeds = [1.0, -2.0], [0.5, 0.0], [11, 12]
    theirs = diffusers_loop(models, means, sampler, negatives=negatives, seeds=seeds, monkeypatch=monkeypatch)
    ours = draw(models, means, sampler, negatives=negatives, seeds=seeds)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["euler", "euler_ancestral"])
def test_same_as_diffusers_with_zero_terminal_snr(name, monkeypatch):
    # diffusers puts 2^-24 for alpha_bar = 0, so it begins at a noise level of 4096 where ours is infinite
    sampler = SamplerConfig(name=name, steps=20, cfg_scale=3.0)
    models = GaussianDenoiser(0.6, "v", zero_terminal_snr=True)
    theirs = diffusers_loop(models, [1.0], sampler, negatives=[0.0], seeds=[3], monkeypatch=monkeypatch)
    torch.testing.assert_close(draw(models, [1.0], sampler, seeds=[3]), theirs, rtol=0, atol=3e-3)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 25, 28, 30, 50, 99, 333, 500])
def test_timesteps_are_those_of_diffusers(steps):
    for spacing in ("leading", "trailing"):
        scheduler = EulerDiscreteScheduler(steps_offset=1, timestep_spacing=spacing)
        scheduler.set_timesteps(steps)
        assert spaced_timesteps(steps, spacing) == [int(t) for t in scheduler.timesteps]


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_timesteps_fall_inside_the_schedule_for_all_step_counts(spacing):
    for steps in range(1, 501):
        timesteps = spaced_timesteps(steps, spacing)
        assert len(timesteps) == steps
        assert timesteps[0] <= 999
        assert timesteps[-1] >= 0
        assert all(a > b for a, b in itertools.pairwise(timesteps))
    assert spaced_timesteps(4, "trailing") == [999, 749, 499, 249]
    assert spaced_timesteps(4, "leading") == [751, 501, 251, 1]


@pytest.mark.parametrize("name", ["euler", "euler_ancestral"])
@pytest.mark.parametrize(("prediction", "zero"), [("epsilon", False), ("v", False), ("v", True), ("flow", False)])
@pytest.mark.parametrize("steps", [1, 3, 20])
def test_a_single_picture_is_found_in_any_number_of_steps(name, prediction, zero, steps):
    # data of one point: every x_0 predicted is that point
    latents = draw(
        GaussianDenoiser(0.0, prediction, zero), [1.5, -0.5], SamplerConfig(name=name, steps=steps, cfg_scale=1.0)
    )
    torch.testing.assert_close(
        latents, torch.tensor([1.5, -0.5])[:, None, None, None].expand(2, *SHAPE), rtol=0, atol=2e-4
    )


@pytest.mark.parametrize(("prediction", "zero"), [("epsilon", False), ("v", False), ("v", True), ("flow", False)])
def test_euler_converges_to_the_exact_flow(prediction, zero):
    mean, std = 1.0, 0.5
    schedule = noise_schedule(zero_terminal_snr=zero)
    alpha_t, sigma_t = (0, 1) if prediction == "flow" else (schedule.alpha[-1].item(), schedule.sigma[-1].item())
    noise = first_noise([5])
    # probability flow of N(mean, std^2): (x / alpha - mean) / sqrt(std^2 + level^2) is constant
    exact = mean + std * (noise - alpha_t * mean) / (alpha_t**2 * std**2 + sigma_t**2) ** 0.5

    def error(steps):
        sampler = SamplerConfig(name="euler", steps=steps, cfg_scale=1.0)
        found = draw(GaussianDenoiser(std, prediction, zero), [mean], sampler, seeds=[5])
        return (found - exact).abs().max().item()

    errors = [error(steps) for steps in (50, 100, 200)]
    assert errors[-1] < 0.03
    # first order: half the step, half the error, in the limit
    assert errors[0] / errors[1] == pytest.approx(1.85, abs=0.15)
    assert errors[1] / errors[2] == pytest.approx(1.9, abs=0.15)


@pytest.mark.parametrize("name", ["euler", "euler_ancestral"])
@pytest.mark.parametrize(
    ("prediction", "zero", "mean"), [("epsilon", False, 0.0), ("v", True, 2.0), ("flow", False, 2.0)]
)
def test_samples_have_the_distribution_of_the_data(name, prediction, zero, mean):
    sampler = SamplerConfig(name=name, steps=500, cfg_scale=1.0)
    latents = draw(GaussianDenoiser(0.5, prediction, zero), [mean] * 64, sampler).double()
    assert latents.mean().item() == pytest.approx(mean, abs=4 * 0.5 / latents.numel() ** 0.5)
    assert latents.std().item() == pytest.approx(0.5, rel=0.03)
    # pictures differ from one another, and so do the places inside each
    assert latents.mean(dim=(1, 2, 3)).std().item() == pytest.approx(0.5 / 192**0.5, rel=0.35)


def test_only_zero_terminal_snr_reaches_a_bright_mean():
    # Without it training never showed pure noise, from which sampling begins: the mean of what is drawn falls short by
    # alpha_T * mean * std, the greyness that Lin et al. describe.
    sampler = SamplerConfig(name="euler", steps=250, cfg_scale=1.0)
    short = draw(GaussianDenoiser(0.5, "v"), [4.0] * 64, sampler).mean().item()
    alpha_t = noise_schedule(zero_terminal_snr=False).alpha[-1].item()
    assert short == pytest.approx(4.0 - alpha_t * 4.0 * 0.5, abs=0.02)
    assert draw(GaussianDenoiser(0.5, "v", True), [4.0] * 64, sampler).mean().item() == pytest.approx(4.0, abs=0.02)


def test_guidance_pushes_away_from_the_negative_prompt():
    sampler = SamplerConfig(name="euler", steps=10, cfg_scale=3.0)
    latents = draw(GaussianDenoiser(0.0), [1.0], sampler, negatives=[0.4])
    # points: x_0 = negative + 3 (positive - negative), at every step
    torch.testing.assert_close(latents, torch.full_like(latents, 0.4 + 3 * 0.6), rtol=0, atol=1e-3)


def test_no_guidance_costs_half():
    models = GaussianDenoiser(0.5)
    draw(models, [1.0, 2.0], SamplerConfig(steps=2, cfg_scale=1.0))
    assert [len(call["x_t"]) for call in models.calls] == [2, 2]
    models.calls.clear()
    draw(models, [1.0, 2.0], SamplerConfig(steps=2, cfg_scale=5.0))
    assert [len(call["x_t"]) for call in models.calls] == [4, 4]


@pytest.mark.parametrize("name", ["euler", "euler_ancestral"])
def test_a_picture_does_not_depend_on_its_batch(name):
    sampler = SamplerConfig(name=name, steps=5, cfg_scale=2.0)
    models = GaussianDenoiser(0.5)
    together = draw(models, [1.0, 2.0, 3.0], sampler, seeds=[7, 8, 9])
    alone = draw(models, [2.0], sampler, seeds=[8])
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(draw(models, [2.0], sampler, seeds=[9]), alone)


def test_time_ids_are_those_of_an_uncropped_picture():
    models = GaussianDenoiser(0.5)
    draw(models, [1.0], SamplerConfig(steps=1), size=Size(832, 1216))
    assert models.calls[0]["time_ids"].tolist() == [[1216, 832, 0, 0, 1216, 832]] * 2
    assert models.calls[0]["x_t"].shape == (2, 4, 152, 104)


def test_leading_spacing_is_refused_with_zero_terminal_snr():
    with pytest.raises(ConfigError, match=r"sampler\.spacing: leading: zero_terminal_snr needs trailing"):
        draw(GaussianDenoiser(0.5, "v", zero_terminal_snr=True), [1.0], SamplerConfig(spacing="leading"))


def test_arguments_that_do_not_belong_together_are_refused():
    models = GaussianDenoiser(0.5)
    with pytest.raises(ValueError, match="do not belong together"):
        draw(models, [1.0, 2.0], SamplerConfig(), seeds=[1])
    with pytest.raises(ValueError, match="do not belong together"):
        draw(models, [1.0], SamplerConfig(), negatives=[0.0, 0.0])
    with pytest.raises(ValueError, match="100x64: both sides have to be multiples of 8"):
        draw(models, [1.0], SamplerConfig(), size=Size(100, 64))


def flow_loop(models, means, scheduler, *, steps, seeds):
    """The loop of diffusers' flow pipelines, at our places, with our noise."""
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    x = first_noise(seeds)
    for t in scheduler.timesteps:
        output = models.predict(x, t.expand(len(means)), models.encode_text(tokens(*means)), None)
        x = scheduler.step(output, t, x).prev_sample
    return x


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
@pytest.mark.parametrize("steps", [1, 7, 28])
def test_flow_is_that_of_diffusers(shift, steps):
    models = GaussianDenoiser(0.6, "flow")
    theirs = flow_loop(models, [1.0, -2.0], FlowMatchEulerDiscreteScheduler(shift=shift), steps=steps, seeds=[11, 12])
    sampler = SamplerConfig(name="euler", steps=steps, cfg_scale=1.0)
    ours = draw(models, [1.0, -2.0], sampler, seeds=[11, 12], shift=shift)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    # told the same times, fractions and all
    asked = [call["timesteps"][0].item() for call in models.calls]
    assert asked[:steps] == pytest.approx(asked[steps:], rel=1e-6)


def test_a_flow_of_one_step_is_the_mean_of_the_data():
    # E[noise - x_0 | x_1 = noise] = noise - mean: a whole step lands on the mean
    latents = draw(GaussianDenoiser(0.5, "flow"), [1.5], SamplerConfig(name="euler", steps=1, cfg_scale=1.0))
    torch.testing.assert_close(latents, torch.full_like(latents, 1.5), rtol=0, atol=1e-5)


def test_the_places_of_a_flow():
    flow = DiffusionConfig(prediction="flow", shift=3, shift_by_area=True)
    sampler = SamplerConfig(steps=4)

    def times(cfg, size=SIZE):
        return [stop.timestep for stop in stops(cfg, flow, size)]

    assert times(sampler, Size(1024, 1024)) == pytest.approx([1000, 900, 750, 500])
    # a quarter of the sides: a quarter of the shift
    assert times(sampler, Size(256, 256)) == pytest.approx([1000, 1000 * 0.75 * 0.75 / 0.8125, 3000 / 7, 200])
    assert times(sampler.model_copy(update={"shift": 1.0})) == pytest.approx([1000, 750, 500, 250])
    first = stops(sampler, flow, SIZE)[0]
    assert (first.alpha, first.sigma) == (0, 1)


@pytest.mark.parametrize("shift", [0.3, 5.0])
def test_a_shift_changes_the_way_and_not_the_end(shift):
    sampler = SamplerConfig(name="euler_ancestral", steps=300, cfg_scale=1.0, shift=shift)
    latents = draw(GaussianDenoiser(0.5, "flow"), [2.0] * 64, sampler).double()
    assert latents.mean().item() == pytest.approx(2.0, abs=4 * 0.5 / latents.numel() ** 0.5)
    assert latents.std().item() == pytest.approx(0.5, rel=0.05)


def test_what_only_a_flow_has_and_what_it_lacks():
    with pytest.raises(ConfigError, match=r"sampler\.spacing: leading: a flow needs trailing"):
        draw(GaussianDenoiser(0.5, "flow"), [1.0], SamplerConfig(spacing="leading"))
    with pytest.raises(ConfigError, match=r"sampler\.shift: 3: only a flow has one; this model predicts v"):
        draw(GaussianDenoiser(0.5, "v"), [1.0], SamplerConfig(shift=3))


@pytest.mark.parametrize(("prediction", "zero"), [("epsilon", False), ("v", True), ("flow", False)])
@pytest.mark.parametrize("strength", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("name", ["heun", "dpmpp_2m"])
def test_from_a_picture_the_last_steps_follow_the_exact_flow(name, strength, prediction, zero):
    mean, std, steps = 1.0, 0.5, 200
    models = GaussianDenoiser(std, prediction, zero)
    diffusion = DiffusionConfig(prediction=prediction, zero_terminal_snr=zero)
    sampler = SamplerConfig(name=name, steps=steps, cfg_scale=1.0)
    picture = torch.linspace(-2, 2, 192).reshape(1, *SHAPE)
    found = denoise(
        models,
        models.encode_text(tokens(mean)),
        seeds=[5],
        size=SIZE,
        diffusion=diffusion,
        sampler=sampler,
        device="cpu",
        start=Start(picture, strength),
    )
    assert len({call["timesteps"][0].item() for call in models.calls}) == int(strength * steps)
    level = stops(sampler, diffusion, SIZE)[-int(strength * steps)].level if strength else 0.0
    noisy = picture + level * first_noise([5])
    torch.testing.assert_close(found, mean + std * (noisy - mean) / (std**2 + level**2) ** 0.5, rtol=0, atol=0.03)


def test_parts_of_a_picture_have_noise_of_their_own():
    models = GaussianDenoiser(0.5)

    def part(number):
        text = models.encode_text(tokens(1.0))
        sampler = SamplerConfig(name="euler", steps=3, cfg_scale=1.0)
        return denoise(
            models,
            text,
            seeds=[5],
            size=SIZE,
            diffusion=DiffusionConfig(),
            sampler=sampler,
            device="cpu",
            part=number,
        )

    assert torch.equal(part(1), part(1))
    assert not torch.equal(part(0), part(1))
