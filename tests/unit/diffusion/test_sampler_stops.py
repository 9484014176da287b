"""Where samplers step: spacing, noise levels, and what fits which model."""

from __future__ import annotations

import itertools
import math

import pydantic
import pytest
from diffusers import DPMSolverMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st

from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.diffusion.schedule import noise_schedule
from animetune.diffusion.stops import CLEAN, spaced_levels, spaced_timesteps, steps_made, stop_at, stops
from animetune.errors import ConfigError
from animetune.records import Size
from animetune.sampler_names import SAMPLERS

SIZE = Size(64, 64)
EPSILON, V, ZERO, FLOW = (
    DiffusionConfig(),
    DiffusionConfig(prediction="v"),
    DiffusionConfig(prediction="v", zero_terminal_snr=True),
    DiffusionConfig(prediction="flow"),
)


def test_linspace_is_that_of_k_diffusion():
    assert spaced_timesteps(4, "linspace") == [999, 666, 333, 0]
    assert spaced_timesteps(1, "linspace") == [999]
    for steps in range(1, 501):
        timesteps = spaced_timesteps(steps, "linspace")
        assert all(a > b for a, b in itertools.pairwise(timesteps))
        assert (len(timesteps), timesteps[0]) == (steps, 999)


def test_karras_levels_by_hand():
    # sigma_i = (max^(1/7) + i / (n - 1) (min^(1/7) - max^(1/7)))^7
    middle = ((14.6 ** (1 / 7) + 0.03 ** (1 / 7)) / 2) ** 7
    assert spaced_levels(3, 0.03, 14.6, "karras") == pytest.approx([14.6, middle, 0.03])
    assert spaced_levels(3, 0.01, 1.0, "exponential") == pytest.approx([1.0, 0.1, 0.01])
    assert spaced_levels(1, 0.03, 14.6, "karras") == pytest.approx([14.6])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("sigmas", ["karras", "exponential"])
@pytest.mark.parametrize("steps", [2, 8, 25, 60])
def test_levels_and_timesteps_are_those_of_diffusers(sigmas, steps):
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **{f"use_{sigmas}_sigmas": True}
    )
    scheduler.set_timesteps(steps)
    way = stops(SamplerConfig(name="dpmpp_2m", sigmas=sigmas, steps=steps), EPSILON, SIZE)
    assert [stop.level for stop in way] == pytest.approx(scheduler.sigmas[:-1].tolist(), rel=1e-4)
    theirs = scheduler.timesteps.tolist()
    # karras: the rounded interpolation where ours is the nearest level; exponential: cut off, not rounded
    assert all(abs(stop.timestep - t) <= 1 for stop, t in zip(way, theirs, strict=True))
    if sigmas == "karras":
        assert sum(stop.timestep == t for stop, t in zip(way, theirs, strict=True)) >= 0.8 * steps


@pytest.mark.parametrize("diffusion", [EPSILON, ZERO])
def test_a_timestep_is_found_by_its_own_level(diffusion):
    schedule = noise_schedule(zero_terminal_snr=diffusion.zero_terminal_snr)
    for t in [0, 1, 17, 500, 998]:
        stop = stop_at(schedule.sigma[t].item() / schedule.alpha[t].item(), diffusion)
        assert stop.timestep == t
        assert (stop.alpha, stop.sigma) == pytest.approx((schedule.alpha[t].item(), schedule.sigma[t].item()), rel=1e-5)
    assert stop_at(0, diffusion) == CLEAN


@given(t=st.floats(0.001, 0.999))
def test_a_flow_is_told_its_own_time(t):
    stop = stop_at(t / (1 - t), FLOW)
    assert stop == pytest.approx((1000 * t, 1 - t, t))
    assert stop.level == pytest.approx(t / (1 - t))


def test_strength_is_floored_and_not_by_rounding_errors():
    assert [steps_made(28, strength) for strength in (0, 0.03, 0.55, 1)] == [0, 0, 15, 28]
    assert steps_made(100, 0.29) == 29  # in floating point 28.999999999999996
    assert all(steps_made(n, k / n) == k for n in range(1, 200) for k in range(n + 1))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("diffusion", [ZERO, FLOW])
def test_levels_alone_have_no_way_out_of_pure_noise(name, diffusion):
    sampler = SamplerConfig(name=name, sigmas="karras")
    with pytest.raises(ConfigError, match=r"sampler\.sigmas: karras: .* begins in pure noise, whose sigma is infinite"):
        stops(sampler, diffusion, SIZE)
    assert sampler.misfit(V) is None
    assert SamplerConfig(name=name).misfit(diffusion) is None
    assert math.isinf(stops(SamplerConfig(name=name), diffusion, SIZE)[0].level)


def test_linspace_is_for_timesteps():
    linspace = SamplerConfig(spacing="linspace")
    assert linspace.misfit(ZERO) is None
    assert linspace.misfit(FLOW) == "sampler.spacing: linspace: a flow needs trailing"


def test_settings_without_a_use_are_refused():
    with pytest.raises(pydantic.ValidationError, match=r"eta: 1: dpmpp_2m has none; only euler_ancestral, ddim, dpm2_"):
        SamplerConfig(name="dpmpp_2m", eta=1.0)
    with pytest.raises(pydantic.ValidationError, match="spacing: leading: sigmas: karras visits no spaced timesteps"):
        SamplerConfig(sigmas="karras", spacing="leading")


def test_titles_are_those_of_a1111():
    assert SamplerConfig(name="dpmpp_2m", sigmas="karras").title == "DPM++ 2M Karras"
    assert SamplerConfig(name="dpmpp_2m_sde", sigmas="exponential").title == "DPM++ 2M SDE Exponential"
    assert SamplerConfig().title == "Euler a"
    assert len({facts.title for facts in SAMPLERS.values()}) == len(SAMPLERS)
