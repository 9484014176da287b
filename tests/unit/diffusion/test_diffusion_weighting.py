"""Loss weights by hand at the corners, and the identities that tie epsilon to v."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from animetune.diffusion.config import DebiasedWeighting, MinSnrWeighting, NoWeighting
from animetune.diffusion.schedule import noise_schedule
from animetune.diffusion.weighting import debiased_weight, loss_weight, min_snr_weight

SNR = torch.tensor([1175.0, 20.0, 5.0, 1.0, 0.0047])


def test_min_snr_by_hand():
    epsilon = min_snr_weight(SNR, gamma=5.0, prediction="epsilon")
    torch.testing.assert_close(epsilon, torch.tensor([5 / 1175, 0.25, 1.0, 1.0, 1.0]))
    v = min_snr_weight(SNR, gamma=5.0, prediction="v")
    # diffusers once added 1 to the weight instead of the ratio; 5 / 21 is not 5 / 20 + 1
    torch.testing.assert_close(v, torch.tensor([5 / 1176, 5 / 21, 5 / 6, 0.5, 0.0047 / 1.0047]))


def test_debiased_by_hand():
    epsilon = debiased_weight(SNR, prediction="epsilon")
    expected = [1 / math.sqrt(1000), 1 / math.sqrt(20), 1 / math.sqrt(5), 1.0, 1 / math.sqrt(0.0047)]
    torch.testing.assert_close(epsilon, torch.tensor(expected))
    v = debiased_weight(SNR, prediction="v")
    torch.testing.assert_close(v, torch.tensor([1 / 1001, 1 / 21, 1 / 6, 0.5, 1 / 1.0047]))


def test_pure_noise_gives_no_nan():
    # min(snr, gamma) / snr as it is written in the paper is 0 / 0 here
    zero = torch.tensor([0.0])
    assert min_snr_weight(zero, gamma=5.0, prediction="epsilon").item() == 1
    assert min_snr_weight(zero, gamma=5.0, prediction="v").item() == 0
    assert debiased_weight(zero, prediction="v").item() == 1


@given(snr=st.floats(1e-6, 1e4), gamma=st.floats(0.1, 100))
def test_min_snr_weights_the_same_error_alike(snr, gamma):
    # |v - v'|^2 = |noise - noise'|^2 (snr + 1) / snr
    snr_t = torch.tensor([snr], dtype=torch.float64)
    on_noise = min_snr_weight(snr_t, gamma=gamma, prediction="epsilon")
    on_v = min_snr_weight(snr_t, gamma=gamma, prediction="v") * (snr_t + 1) / snr_t
    torch.testing.assert_close(on_v, on_noise, rtol=1e-9, atol=0)


@pytest.mark.parametrize("weighting", [NoWeighting(), MinSnrWeighting(), DebiasedWeighting()])
@pytest.mark.parametrize(("prediction", "zero_terminal_snr"), [("epsilon", False), ("v", False), ("v", True)])
def test_every_allowed_configuration_is_finite_everywhere(weighting, prediction, zero_terminal_snr):
    snr_t = noise_schedule(zero_terminal_snr=zero_terminal_snr).snr
    weight = loss_weight(weighting, snr_t, prediction=prediction)
    assert weight.shape == snr_t.shape
    assert weight.dtype == torch.float32
    assert torch.isfinite(weight).all()
    assert (weight >= 0).all()


def test_configuration_chooses_the_weight():
    assert torch.equal(loss_weight(NoWeighting(), SNR, prediction="v"), torch.ones(5))
    chosen = loss_weight(MinSnrWeighting(gamma=2.0), SNR, prediction="v")
    assert torch.equal(chosen, min_snr_weight(SNR, gamma=2.0, prediction="v"))
    chosen = loss_weight(DebiasedWeighting(), SNR, prediction="epsilon")
    assert torch.equal(chosen, debiased_weight(SNR, prediction="epsilon"))
