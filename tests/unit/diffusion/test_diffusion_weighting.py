"""Loss weights by hand at the corners, and the identities that tie epsilon, v and flow."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from animetune.diffusion.config import (
    CosmapWeighting,
    DebiasedWeighting,
    DiffusionConfig,
    MinSnrWeighting,
    NoWeighting,
    P2Weighting,
    SoftMinSnrWeighting,
)
from animetune.diffusion.noise import add_noise
from animetune.diffusion.schedule import noise_levels
from animetune.diffusion.targets import split_prediction, training_target
from animetune.diffusion.weighting import loss_weight, noise_error

SNR = torch.tensor([1175.0, 20.0, 5.0, 1.0, 0.0047])
CONFIGURATIONS = [("epsilon", False), ("v", False), ("v", True), ("flow", False)]
WEIGHTINGS = [
    NoWeighting(),
    MinSnrWeighting(),
    SoftMinSnrWeighting(),
    P2Weighting(),
    DebiasedWeighting(),
    DebiasedWeighting(v_formula="onetrainer"),
    DebiasedWeighting(v_formula="paper"),
]


def weights(weighting, prediction, snr=SNR):
    return loss_weight(weighting, snr, prediction=prediction)


def test_no_weighting_is_one():
    assert torch.equal(weights(NoWeighting(), "v"), torch.ones(5))


def test_min_snr_by_hand():
    epsilon = weights(MinSnrWeighting(gamma=5), "epsilon")
    torch.testing.assert_close(epsilon, torch.tensor([5 / 1175, 0.25, 1.0, 1.0, 1.0]))
    v = weights(MinSnrWeighting(gamma=5), "v")
    # diffusers once added 1 to the weight instead of the ratio; 5 / 21 is not 5 / 20 + 1
    torch.testing.assert_close(v, torch.tensor([5 / 1176, 5 / 21, 5 / 6, 0.5, 0.0047 / 1.0047]))
    # snr 1 is t = 1/2, snr 9 is t = 1/4: weight on the noise times (1 - t)^2
    flow = weights(MinSnrWeighting(gamma=5), "flow", torch.tensor([9.0, 1.0]))
    torch.testing.assert_close(flow, torch.tensor([5 / 9 * 0.75**2, 0.25]))


def test_soft_min_snr_by_hand():
    epsilon = weights(SoftMinSnrWeighting(gamma=5), "epsilon")
    torch.testing.assert_close(epsilon, torch.tensor([5 / 1180, 0.2, 0.5, 5 / 6, 5 / 5.0047]))
    v = weights(SoftMinSnrWeighting(gamma=5), "v")
    torch.testing.assert_close(v[1:4], torch.tensor([0.2 * 20 / 21, 0.5 * 5 / 6, 5 / 12]))


def test_soft_min_snr_is_that_of_k_diffusion():
    # k-diffusion weighs the error of F, where x_0 = c_skip x + c_out F and x = x_0 + sigma noise, by
    # (sigma sigma_data)^2 / (sigma^2 + sigma_data^2)^2; c_out^2 = (sigma sigma_data)^2 / (sigma^2 + sigma_data^2)
    sigma_data = 0.5
    sigma = SNR.double().rsqrt()
    on_f = (sigma * sigma_data) ** 2 / (sigma**2 + sigma_data**2) ** 2
    on_x_0 = on_f * (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    ours = weights(SoftMinSnrWeighting(gamma=1 / sigma_data**2), "epsilon").double() * SNR.double()
    torch.testing.assert_close(ours, on_x_0, rtol=1e-6, atol=0)


def test_p2_by_hand():
    epsilon = weights(P2Weighting(gamma=1, k=1), "epsilon")
    torch.testing.assert_close(epsilon, torch.tensor([1 / 1176, 1 / 21, 1 / 6, 0.5, 1 / 1.0047]))
    torch.testing.assert_close(weights(P2Weighting(gamma=0.5, k=4), "epsilon")[2:4], torch.tensor([1 / 3, 5**-0.5]))
    torch.testing.assert_close(weights(P2Weighting(gamma=1, k=1), "v")[2:4], torch.tensor([5 / 36, 0.25]))


def test_debiased_by_hand():
    epsilon = weights(DebiasedWeighting(), "epsilon")
    expected = [1 / math.sqrt(1000), 1 / math.sqrt(20), 1 / math.sqrt(5), 1.0, 1 / math.sqrt(0.0047)]
    torch.testing.assert_close(epsilon, torch.tensor(expected))
    kohya = weights(DebiasedWeighting(v_formula="kohya"), "v")
    torch.testing.assert_close(kohya, torch.tensor([1 / 1001, 1 / 21, 1 / 6, 0.5, 1 / 1.0047]))
    onetrainer = weights(DebiasedWeighting(v_formula="onetrainer"), "v")
    torch.testing.assert_close(onetrainer, kohya.sqrt())
    paper = weights(DebiasedWeighting(v_formula="paper"), "v")
    torch.testing.assert_close(paper[1:4], torch.tensor([20**0.5 / 21, 5**0.5 / 6, 0.5]))
    # flow: t (1 - t)
    flow = weights(DebiasedWeighting(), "flow", torch.tensor([9.0, 1.0]))
    torch.testing.assert_close(flow, torch.tensor([3 / 16, 0.25]))


def test_cosmap_by_hand_and_its_mean():
    def at(t):
        return weights(CosmapWeighting(), "flow", ((1 - t) / t).square())

    corners = at(torch.tensor([1e-6, 0.5, 1.0], dtype=torch.float64))
    assert corners.tolist() == pytest.approx([2 / math.pi, 4 / math.pi, 2 / math.pi], rel=1e-5)
    assert at((torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000).mean().item() == pytest.approx(1, abs=1e-7)


def test_pure_noise_gives_no_nan():
    # min(snr, gamma) / snr as it is written in the paper is 0 / 0 here
    zero = torch.tensor([0.0])
    assert weights(MinSnrWeighting(), "epsilon", zero).item() == 1
    for weighting in (MinSnrWeighting(), SoftMinSnrWeighting(), P2Weighting(), DebiasedWeighting(v_formula="paper")):
        assert weights(weighting, "v", zero).item() == weights(weighting, "flow", zero).item() == 0
    assert weights(DebiasedWeighting(), "v", zero).item() == 1


@pytest.mark.parametrize(("prediction", "zero_terminal_snr"), CONFIGURATIONS)
def test_the_ratio_of_the_errors_is_what_the_targets_say(prediction, zero_terminal_snr):
    cfg = DiffusionConfig(prediction=prediction, zero_terminal_snr=zero_terminal_snr)
    levels = noise_levels(torch.tensor([1, 10, 300, 700, 998]), cfg)
    generator = torch.Generator().manual_seed(0)
    x_0, noise, error = torch.randn(3, 5, 4, 3, 3, generator=generator, dtype=torch.float64)
    c = {"alpha_t": levels.alpha.double(), "sigma_t": levels.sigma.double()}
    x_t = add_noise(x_0, noise, **c)
    output = training_target(x_0, noise, prediction=prediction, **c) + error
    _, read = split_prediction(x_t, output, prediction=prediction, **c)
    ratio = (read - noise).square().mean(dim=(1, 2, 3)) / error.square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(noise_error(levels.snr, prediction).double(), ratio, rtol=1e-3, atol=0)


@given(snr=st.floats(1e-6, 1e4), gamma=st.floats(0.1, 100), prediction=st.sampled_from(["v", "flow"]))
def test_all_but_the_peers_own_weigh_an_error_of_the_noise_alike(snr, gamma, prediction):
    snr_t = torch.tensor([snr], dtype=torch.float64)
    for weighting in (MinSnrWeighting(gamma=gamma), SoftMinSnrWeighting(gamma=gamma), P2Weighting(gamma=min(gamma, 3))):
        on_noise = weights(weighting, "epsilon", snr_t)
        on_target = weights(weighting, prediction, snr_t) / noise_error(snr_t, prediction)
        torch.testing.assert_close(on_target, on_noise, rtol=1e-9, atol=0)
    if snr < 1000:  # the peers' bound
        paper = weights(DebiasedWeighting(v_formula="paper"), prediction, snr_t) / noise_error(snr_t, prediction)
        torch.testing.assert_close(paper, weights(DebiasedWeighting(), "epsilon", snr_t), rtol=1e-9, atol=0)


@given(snr=st.floats(1e-6, 1e6), gamma=st.floats(0.1, 100))
def test_soft_min_snr_lies_between_half_of_min_snr_and_all_of_it(snr, gamma):
    snr_t = torch.tensor([snr], dtype=torch.float64)
    ratio = weights(SoftMinSnrWeighting(gamma=gamma), "v", snr_t) / weights(MinSnrWeighting(gamma=gamma), "v", snr_t)
    assert 0.5 - 1e-12 <= ratio.item() <= 1 + 1e-12


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize(("prediction", "zero_terminal_snr"), CONFIGURATIONS)
def test_every_allowed_configuration_is_finite_everywhere(weighting, prediction, zero_terminal_snr):
    cfg = DiffusionConfig(prediction=prediction, zero_terminal_snr=zero_terminal_snr)
    times = torch.from_numpy(np.linspace(0, 1000, 4001))
    weight = weights(weighting, prediction, noise_levels(times, cfg).snr)
    assert weight.shape == times.shape
    assert weight.dtype == torch.float32
    assert torch.isfinite(weight).all()
    assert (weight >= 0).all()
