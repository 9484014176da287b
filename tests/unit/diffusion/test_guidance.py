"""Guidance, and taking its contrast back."""

from __future__ import annotations

import pytest
import torch

from animetune.diffusion.config import SamplerConfig
from animetune.diffusion.guidance import guided
from animetune.diffusion.sampler import micro_conditioning
from animetune.records import Size


def outputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    conditional, unconditional = torch.randn(2, 3, 4, 6, 8, generator=generator)
    return conditional * torch.tensor([1.0, 2.0, 0.1])[:, None, None, None], unconditional


def test_scale_one_is_the_conditional_and_zero_the_negative():
    conditional, unconditional = outputs()
    torch.testing.assert_close(guided(conditional, unconditional, scale=1, rescale=0), conditional)
    torch.testing.assert_close(guided(conditional, unconditional, scale=0, rescale=0), unconditional)


def test_full_rescale_has_the_contrast_of_the_conditional_picture_by_picture():
    conditional, unconditional = outputs()
    rescaled = guided(conditional, unconditional, scale=9, rescale=1)
    torch.testing.assert_close(rescaled.std((1, 2, 3)), conditional.std((1, 2, 3)))
    plain = guided(conditional, unconditional, scale=9, rescale=0)
    half = guided(conditional, unconditional, scale=9, rescale=0.5)
    torch.testing.assert_close(half, (plain + rescaled) / 2)


def test_rescale_is_that_of_diffusers():
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import rescale_noise_cfg

    conditional, unconditional = outputs()
    plain = guided(conditional, unconditional, scale=7, rescale=0)
    theirs = rescale_noise_cfg(plain, conditional, guidance_rescale=0.7)
    torch.testing.assert_close(guided(conditional, unconditional, scale=7, rescale=0.7), theirs)


def test_an_output_without_contrast_stays():
    flat = torch.full((1, 4, 2, 2), 3.0)
    assert torch.equal(guided(flat, flat, scale=7, rescale=0.7), flat)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1216, 832, 0, 0, 1216, 832]),
        ({"original_size": (2048, 3000), "crop": (8, 16)}, [3000, 2048, 16, 8, 1216, 832]),
        ({"target_size": (1024, 1536)}, [1216, 832, 0, 0, 1536, 1024]),
    ],
)
def test_micro_conditioning(settings, expected):
    assert micro_conditioning(SamplerConfig(**settings), Size(832, 1216)).tolist() == [expected]
