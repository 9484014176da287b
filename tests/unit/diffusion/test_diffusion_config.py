"""The configuration refuses what cannot work, and marks what makes another run."""

from __future__ import annotations

import subprocess
import sys

import pydantic
import pytest

from animetune.config import identity
from animetune.diffusion.config import DiffusionConfig, MinSnrWeighting, SamplerConfig


def test_epsilon_with_zero_terminal_snr_is_refused():
    with pytest.raises(pydantic.ValidationError, match="needs prediction: v"):
        DiffusionConfig(zero_terminal_snr=True)
    assert DiffusionConfig(zero_terminal_snr=True, prediction="v").zero_terminal_snr


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"weighting": {"name": "none", "gamma": 5}}, "weighting.none.gamma"),
        ({"weighting": {"name": "min_snr", "gamma": 0}}, "weighting.min_snr.gamma"),
        ({"weighting": {"name": "p2"}}, "weighting"),
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


def test_every_setting_belongs_to_the_identity_of_a_run():
    cfg = DiffusionConfig(weighting=MinSnrWeighting(gamma=5))
    assert identity(cfg) == {
        "prediction": "epsilon",
        "zero_terminal_snr": False,
        "weighting.name": "min_snr",
        "weighting.gamma": 5.0,
        "noise_offset": 0.0,
        "timesteps": "stratified",
    }


@pytest.mark.parametrize("values", [{"steps": 0}, {"steps": 501}, {"cfg_scale": -1}, {"name": "ddim"}, {"eta": 1}])
def test_sampler_refuses(values):
    with pytest.raises(pydantic.ValidationError):
        SamplerConfig.model_validate(values)


def test_configuration_is_read_without_torch():
    code = "import sys, animetune.diffusion.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
