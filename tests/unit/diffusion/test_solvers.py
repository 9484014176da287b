"""The samplers against k-diffusion's formulas in plain form, diffusers' schedulers, and the exact solution."""

from __future__ import annotations

import math

import diffusers.schedulers.scheduling_k_dpm_2_ancestral_discrete as dpm2_ancestral_module
import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    UniPCMultistepScheduler,
)

from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.diffusion.sampler import sample
from animetune.diffusion.schedule import noise_schedule
from animetune.diffusion.solvers import Look, Trip, default_eta, lagrange_integrals, solve
from animetune.diffusion.stops import CLEAN, Stop, spaced_levels
from animetune.sampler_names import SAMPLERS
from animetune.seeding import Purpose, rng_for
from tests.unit.diffusion.gaussian_denoiser import SIZE, GaussianDenoiser, tokens

# diffusers hands a tensor to numpy.array
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPE = (4, SIZE.height // 8, SIZE.width // 8)
MEAN, STD = 1.0, 0.5
NAMES = list(SAMPLERS)
DETERMINISTIC = ["euler", "heun", "lms", "dpm2", "dpmpp_2m", "unipc", "ddim"]
KINDS = [("epsilon", False), ("v", False), ("v", True), ("flow", False)]


# ---- in the noise level alone, with a denoiser that is exact at every level


def noises(seed: int):
    rng = rng_for(seed, Purpose.SAMPLE)
    return lambda: torch.from_numpy(rng.standard_normal((1, *SHAPE), dtype=np.float32))


def place(level: float) -> Stop:
    alpha = 1 / math.sqrt(1 + level**2)
    return Stop(0, alpha, level * alpha) if level else CLEAN


def exact_x_0(x, level):
    """E[x_0 | x_0 + level * noise = x] of data ~ mixture of N(MEAN, STD^2) and N(-MEAN, STD^2): not linear in x."""
    spread = STD**2 + level**2
    side = torch.tanh(x * MEAN / spread)
    return (side * MEAN * level**2 + x * STD**2) / spread


def solved(name, levels, *, seed=3, eta=None, start=None):
    def look(x, stop):
        x = x / stop.alpha
        x_0 = exact_x_0(x, stop.level)
        return Look(x_0, (x - x_0) / stop.level)

    fresh = noises(seed)
    way = [place(level) for level in levels]
    x = way[0].alpha * (levels[0] * fresh() if start is None else start)
    trip = Trip(look, fresh, place, default_eta(name) if eta is None else eta)
    return solve(name, x.double(), way, trip) / way[-1].alpha


def ancestral(here, there, eta=1.0):
    up = min(there, eta * (there**2 * (here**2 - there**2) / here**2) ** 0.5)
    return (there**2 - up**2) ** 0.5, up


def plain(name, sigmas, *, seed=3):
    """The samplers as k-diffusion states them, on x = x_0 + sigma * noise."""
    fresh = noises(seed)
    x = (sigmas[0] * fresh()).double()
    denoised_before, h_1, h_2, denoised_2 = None, None, None, None
    slopes = []
    for i in range(len(sigmas) - 1):
        here, there = sigmas[i], sigmas[i + 1]
        denoised = exact_x_0(x, here)
        d = (x - denoised) / here
        h = math.log(here / there) if there else math.inf
        match name:
            case "euler" | "ddim":
                x = x + d * (there - here)
            case "euler_ancestral":
                down, up = ancestral(here, there)
                x = x + d * (down - here)
                if there:
                    x = x + fresh() * up
            case "heun":
                x_2 = x + d * (there - here)
                if there:
                    d_2 = (x_2 - exact_x_0(x_2, there)) / there
                    d = (d + d_2) / 2
                x = x + d * (there - here)
            case "lms":
                slopes = [*slopes, d][-4:]
                used = sigmas[i + 1 - len(slopes) : i + 1]
                # Gauss-Legendre: exact for cubics
                at, weight = np.polynomial.legendre.leggauss(8)
                at = (here + there) / 2 + (there - here) / 2 * at
                step = 0
                for j, slope in enumerate(slopes):
                    basis = np.prod([(at - used[k]) / (used[j] - used[k]) for k in range(len(used)) if k != j], axis=0)
                    step = step + float((weight * basis).sum() * (there - here) / 2) * slope
                x = x + step
            case "dpm2" | "dpm2_ancestral":
                down, up = ancestral(here, there) if name == "dpm2_ancestral" else (there, 0)
                if down:
                    middle = math.exp((math.log(here) + math.log(down)) / 2)
                    x_2 = x + d * (middle - here)
                    d = (x_2 - exact_x_0(x_2, middle)) / middle
                x = x + d * (down - here)
                if up:
                    x = x + fresh() * up
            case "dpmpp_2s_ancestral":
                down, up = ancestral(here, there)
                if not down:
                    x = x + d * (down - here)
                else:
                    h = math.log(here / down)
                    middle = here * math.exp(-h / 2)
                    x_2 = (middle / here) * x - math.expm1(-h / 2) * denoised
                    x = (down / here) * x - math.expm1(-h) * exact_x_0(x_2, middle)
                if there:
                    x = x + fresh() * up
            case "dpmpp_sde":
                if not there:
                    x = x + d * (there - here)
                    continue
                middle = here * math.exp(-h / 2)
                motion_1 = fresh() * math.sqrt(here - middle)  # W(middle) - W(here)
                motion_2 = fresh() * math.sqrt(middle - there)
                down, up = ancestral(here, middle)
                x_2 = (down / here) * x - math.expm1(math.log(down / here)) * denoised
                x_2 = x_2 + motion_1 / math.sqrt(here - middle) * up
                down, up = ancestral(here, there)
                x = (down / here) * x - math.expm1(math.log(down / here)) * exact_x_0(x_2, middle)
                x = x + (motion_1 + motion_2) / math.sqrt(here - there) * up
            case "dpmpp_2m":
                if denoised_before is None or there == 0:
                    x = (there / here) * x - math.expm1(-h) * denoised
                else:
                    r = h_1 / h
                    guess = (1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * denoised_before
                    x = (there / here) * x - math.expm1(-h) * guess
                denoised_before, h_1 = denoised, h
            case "dpmpp_2m_sde":
                if there == 0:
                    x = denoised
                    continue
                x = there / here * math.exp(-h) * x - math.expm1(-2 * h) * denoised
                if denoised_before is not None:
                    x = x - 0.5 * math.expm1(-2 * h) * (h / h_1) * (denoised - denoised_before)
                x = x + fresh() * there * math.sqrt(-math.expm1(-2 * h))
                denoised_before, h_1 = denoised, h
            case "dpmpp_3m_sde":
                if there == 0:
                    x = denoised
                    continue
                h_eta = 2 * h
                x = math.exp(-h_eta) * x - math.expm1(-h_eta) * denoised
                if h_2 is not None:
                    r_0, r_1 = h_1 / h, h_2 / h
                    d1_0, d1_1 = (denoised - denoised_before) / r_0, (denoised_before - denoised_2) / r_1
                    d1 = d1_0 + (d1_0 - d1_1) * r_0 / (r_0 + r_1)
                    d2 = (d1_0 - d1_1) / (r_0 + r_1)
                    phi_2 = math.expm1(-h_eta) / h_eta + 1
                    phi_3 = phi_2 / h_eta - 0.5
                    x = x + phi_2 * d1 - phi_3 * d2
                elif h_1 is not None:
                    x = x + (math.expm1(-h_eta) / h_eta + 1) * (denoised - denoised_before) / (h_1 / h)
                x = x + fresh() * there * math.sqrt(-math.expm1(-2 * h))
                denoised_before, denoised_2 = denoised, denoised_before
                h_1, h_2 = h, h_1
            case "lcm":
                x = denoised
                if there:
                    x = x + there * fresh()
    return x


@pytest.mark.parametrize("name", [name for name in NAMES if name != "unipc"])
@pytest.mark.parametrize(("spacing", "steps"), [("karras", 12), ("exponential", 20), ("karras", 1), ("karras", 2)])
def test_same_as_the_plain_formula(name, spacing, steps):
    sigmas = [*spaced_levels(steps, 0.03, 14.6, spacing), 0.0]
    # schedulers of the library compute in float32
    torch.testing.assert_close(solved(name, sigmas), plain(name, sigmas), rtol=0, atol=2e-4, check_dtype=False)


def test_lms_weights_by_hand():
    assert lagrange_integrals([3.0], 3.0, 1.0) == pytest.approx([-2])
    # the line through (3, a) and (4, b), integrated from 3 to 1: a * (-2 - 2) + b * 2
    assert lagrange_integrals([3.0, 4.0], 3.0, 1.0) == pytest.approx([-4, 2])


@pytest.mark.parametrize(
    ("name", "order"),
    [("euler", 1), ("heun", 2), ("dpm2", 2), ("dpmpp_2m", 2), ("unipc", 2), ("lms", 3), ("dpmpp_2s_ancestral", 2)],
)
def test_order_of_accuracy(name, order):
    start = 6.0 * noises(8)()
    truth = solved("heun", spaced_levels(2001, 0.3, 6.0, "exponential"), start=start)

    def error(count):
        levels = spaced_levels(count + 1, 0.3, 6.0, "exponential")
        return (solved(name, levels, start=start, eta=0.0) - truth).abs().max().item()

    coarse, fine = error(20), error(40)
    assert math.log2(coarse / fine) > order - 0.3
    if order > 1:
        levels = spaced_levels(21, 0.3, 6.0, "exponential")
        assert coarse < (solved("euler", levels, start=start) - truth).abs().max().item() / 5


# ---- on the schedules, through `sample`


def draw(models, means, sampler, *, negatives=None, seeds=None):
    return sample(
        models,
        tokens(*means),
        negative_ids=tokens(*(negatives or [0.0] * len(means))),
        seeds=seeds or list(range(len(means))),
        size=SIZE,
        diffusion=DiffusionConfig(prediction=models.prediction, zero_terminal_snr=models.zero_terminal_snr),
        sampler=sampler,
    )


BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def library_loop(scheduler, models, mean, seed, *, steps, noise=None):
    scheduler.set_timesteps(steps)
    x = (noise or noises(seed))() * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        t_batch = torch.full((1,), round(float(t)), dtype=torch.int64)
        output = models.predict(scaled, t_batch, models.encode_text(tokens(mean)), None)
        x = scheduler.step(output, t, x).prev_sample
    return x


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize(
    ("name", "sigmas", "library", "options"),
    [
        ("dpmpp_2m", "karras", DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
        ("dpmpp_2m", "exponential", DPMSolverMultistepScheduler, {"use_exponential_sigmas": True}),
        ("dpmpp_2m", "normal", DPMSolverMultistepScheduler, {}),
        ("unipc", "karras", UniPCMultistepScheduler, {"use_karras_sigmas": True}),
        ("heun", "normal", HeunDiscreteScheduler, {}),
        ("ddim", "normal", DDIMScheduler, {"set_alpha_to_one": True, "clip_sample": False}),
    ],
)
@pytest.mark.parametrize("steps", [8, 25])
def test_same_as_the_scheduler_of_diffusers(name, sigmas, library, options, steps, prediction):
    options = dict(options)
    if library is DPMSolverMultistepScheduler:
        options |= {"lower_order_final": False, "final_sigmas_type": "zero"}
    if library is UniPCMultistepScheduler:
        options |= {"final_sigmas_type": "zero"}
    scheduler = library(
        **BETAS,
        timestep_spacing="trailing",
        prediction_type="epsilon" if prediction == "epsilon" else "v_prediction",
        **options,
    )
    models = GaussianDenoiser(0.6, prediction)
    theirs = library_loop(scheduler, models, 1.0, 7, steps=steps)
    ours = draw(models, [1.0], SamplerConfig(name=name, sigmas=sigmas, steps=steps, cfg_scale=1.0), seeds=[7])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.01)


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
@pytest.mark.parametrize("library", [KDPM2DiscreteScheduler, KDPM2AncestralDiscreteScheduler])
def test_dpm2_is_that_of_diffusers(library, monkeypatch):
    fresh = noises(7)
    monkeypatch.setattr(dpm2_ancestral_module, "randn_tensor", lambda *_, **__: fresh())
    name = "dpm2" if library is KDPM2DiscreteScheduler else "dpm2_ancestral"
    models = GaussianDenoiser(0.6)
    scheduler = library(**BETAS, timestep_spacing="trailing")
    theirs = library_loop(scheduler, models, 1.0, 7, steps=40, noise=fresh)
    ours = draw(models, [1.0], SamplerConfig(name=name, steps=40, cfg_scale=1.0), seeds=[7])
    # it tells the model a rounded timestep in between, as we do, by another interpolation
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.01)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("prediction", "zero"), KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_a_single_picture_is_found_in_any_number_of_steps(name, prediction, zero, steps):
    latents = draw(
        GaussianDenoiser(0.0, prediction, zero), [1.5, -0.5], SamplerConfig(name=name, steps=steps, cfg_scale=1.0)
    )
    expected = torch.tensor([1.5, -0.5])[:, None, None, None].expand(2, *SHAPE)
    torch.testing.assert_close(latents, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize(("prediction", "zero"), KINDS)
def test_deterministic_samplers_converge_to_the_exact_flow(name, prediction, zero):
    schedule = noise_schedule(zero_terminal_snr=zero)
    alpha_t, sigma_t = (0, 1) if prediction == "flow" else (schedule.alpha[-1].item(), schedule.sigma[-1].item())
    noise = noises(5)()
    exact = MEAN + STD * (noise - alpha_t * MEAN) / (alpha_t**2 * STD**2 + sigma_t**2) ** 0.5
    sampler = SamplerConfig(name=name, steps=200, cfg_scale=1.0)
    found = draw(GaussianDenoiser(STD, prediction, zero), [MEAN], sampler, seeds=[5])
    assert (found - exact).abs().max() < 0.03


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {*DETERMINISTIC, "lcm"}])
@pytest.mark.parametrize(
    ("prediction", "zero", "mean"), [("epsilon", False, 0.0), ("v", True, 2.0), ("flow", False, 2.0)]
)
def test_noisy_samplers_have_the_distribution_of_the_data(name, prediction, zero, mean):
    sampler = SamplerConfig(name=name, steps=250, cfg_scale=1.0)
    latents = draw(GaussianDenoiser(0.5, prediction, zero), [mean] * 64, sampler).double()
    assert latents.mean().item() == pytest.approx(mean, abs=4 * 0.5 / latents.numel() ** 0.5)
    assert latents.std().item() == pytest.approx(0.5, rel=0.04)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("prediction", "zero"), KINDS)
def test_a_picture_does_not_depend_on_its_batch(name, prediction, zero):
    sampler = SamplerConfig(name=name, steps=5, cfg_scale=2.0, cfg_rescale=0.5)
    models = GaussianDenoiser(0.5, prediction, zero)
    together = draw(models, [1.0, 2.0, 3.0, 4.0], sampler, seeds=[7, 8, 9, 10])
    alone = draw(models, [2.0], sampler, seeds=[8])
    torch.testing.assert_close(together[1], alone[0], rtol=0, atol=1e-6)
    assert not torch.equal(draw(models, [2.0], sampler, seeds=[9]), alone)


@pytest.mark.parametrize("name", NAMES)
def test_no_global_generator_is_touched(name):
    state = torch.random.get_rng_state()
    draw(GaussianDenoiser(0.5), [1.0], SamplerConfig(name=name, steps=4))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_evaluations_are_as_many_as_the_table_says(name):
    models = GaussianDenoiser(0.5)
    draw(models, [1.0], SamplerConfig(name=name, steps=6, cfg_scale=1.0))
    assert len(models.calls) == 5 * SAMPLERS[name].evaluations + 1


def test_eta_goes_from_euler_to_euler_ancestral():
    models = GaussianDenoiser(0.5)

    def drawn(name, **settings):
        return draw(models, [1.0], SamplerConfig(name=name, steps=9, **settings))

    assert torch.equal(drawn("euler_ancestral", eta=0.0), drawn("euler"))
    assert torch.equal(drawn("ddim", eta=1.0), drawn("euler_ancestral"))
    assert torch.equal(drawn("ddim"), drawn("euler"))
    between = drawn("ddim", eta=0.5)
    assert not torch.equal(between, drawn("euler"))
    # half the noise leaves the distribution as it is
    many = draw(models, [0.0] * 64, SamplerConfig(name="ddim", eta=0.5, steps=250, cfg_scale=1.0))
    assert many.std().item() == pytest.approx(0.5, rel=0.04)
