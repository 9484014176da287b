"""The configuration refuses what cannot work, and marks what makes another run."""

from __future__ import annotations

import subprocess
import sys

import pydantic
import pytest

from animetune.config import identity
from animetune.diffusion.config import BinTimesteps, DiffusionConfig, HuberLoss, MinSnrWeighting, SamplerConfig


def test_epsilon_with_zero_terminal_snr_is_refused():
    with pytest.raises(pydantic.ValidationError, match="needs prediction: v"):
        DiffusionConfig(zero_terminal_snr=True)
    assert DiffusionConfig(zero_terminal_snr=True, prediction="v").zero_terminal_snr


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"weighting": {"name": "none", "gamma": 5}}, "weighting.none.gamma"),
        ({"weighting": {"name": "min_snr", "gamma": 0}}, "weighting.min_snr.gamma"),
        ({"weighting": {"name": "p3"}}, "weighting"),
        ({"weighting": {"name": "debiased", "v_formula": "own"}}, "weighting.debiased.v_formula"),
        ({"loss": {"name": "huber", "c": 1.5}}, "loss.huber.c"),
        ({"loss": {"name": "mse", "c": 0.1}}, "loss.mse.c"),
        ({"timesteps": {"name": "uniform", "range": [0, 1001]}}, "timesteps.uniform.range.1"),
        ({"timesteps": {"name": "uniform", "range": [500, 500]}}, "timesteps.uniform"),
        ({"timesteps": {"name": "logit_normal", "std": 0}}, "timesteps.logit_normal.std"),
        ({"timesteps": {"name": "bins", "weights": []}}, "timesteps.bins.weights"),
        ({"timesteps": {"name": "bins", "weights": [0, 0, 1], "range": [0, 600]}}, "timesteps.bins"),
        ({"multires": {"levels": 1}}, "multires.levels"),
        ({"input_perturbation": 1}, "input_perturbation"),
        ({"conditioning_dropout": {"time_ids": 1.5}}, "conditioning_dropout.time_ids"),
        ({"shift": 0}, "shift"),
        ({"noise_offset": -0.1}, "noise_offset"),
        ({"offset_noise": 0.1}, "offset_noise"),
        ({"prediction": "v_prediction"}, "prediction"),
    ],
)
def test_mistakes_are_named(values, where):
    with pytest.raises(pydantic.ValidationError) as error:
        DiffusionConfig.model_validate(values)
    assert [".".join(map(str, problem["loc"])) for problem in error.value.errors()] == [where]


def test_weighting_is_chosen_by_name():
    cfg = DiffusionConfig.model_validate({"weighting": {"name": "min_snr", "gamma": 3}})
    assert cfg.weighting == MinSnrWeighting(gamma=3)
    cfg = DiffusionConfig.model_validate(
        {"loss": {"name": "huber"}, "timesteps": {"name": "bins", "weights": [1, 2], "range": [100, 900]}}
    )
    assert cfg.loss == HuberLoss(c=0.1, schedule="snr")
    assert cfg.timesteps == BinTimesteps(weights=(1, 2), range=(100, 900), stratified=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prediction": "flow", "zero_terminal_snr": True}, "a flow has no beta schedule"),
        ({"shift": 3}, "shift and shift_by_area need prediction: flow, not epsilon"),
        ({"prediction": "v", "shift_by_area": True}, "shift and shift_by_area need prediction: flow, not v"),
        ({"weighting": {"name": "cosmap"}}, "cosmap needs prediction: flow"),
    ],
)
def test_settings_that_do_not_fit_the_prediction_are_refused(values, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        DiffusionConfig.model_validate(values)


def test_a_flow_takes_a_shift_and_cosmap():
    cfg = DiffusionConfig(prediction="flow", shift=3, shift_by_area=True, weighting={"name": "cosmap"})
    assert cfg.weighting.name == "cosmap"


def test_every_setting_belongs_to_the_identity_of_a_run():
    cfg = DiffusionConfig(weighting=MinSnrWeighting(gamma=5))
    assert identity(cfg) == {
        "prediction": "epsilon",
        "zero_terminal_snr": False,
        "weighting.name": "min_snr",
        "weighting.gamma": 5.0,
        "shift": 1.0,
        "shift_by_area": False,
        "loss.name": "mse",
        "normalize_masks": False,
        "noise_offset": 0.0,
        "multires": None,
        "input_perturbation": 0.0,
        "input_perturbation_random": False,
        "timesteps.name": "uniform",
        "timesteps.stratified": True,
        "timesteps.range": [0, 1000],
        "conditioning_dropout.pooled": 0.0,
        "conditioning_dropout.time_ids": 0.0,
    }


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0},
        {"steps": 501},
        {"cfg_scale": -1},
        {"cfg_rescale": 1.1},
        {"name": "plms"},
        {"sigmas": "beta"},
        {"eta": 2},
        {"name": "dpmpp_2m", "eta": 1},
        {"crop": [-1, 0]},
        {"shift": 0},
    ],
)
def test_sampler_refuses(values):
    with pytest.raises(pydantic.ValidationError):
        SamplerConfig.model_validate(values)


def test_configuration_is_read_without_torch():
    code = "import sys, animetune.diffusion.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
