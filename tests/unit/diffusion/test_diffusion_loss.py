"""The training step: against the known loss of the best model, and every switch against its formula."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from animetune.diffusion.config import DiffusionConfig, MinSnrWeighting
from animetune.diffusion.loss import diffusion_loss
from animetune.diffusion.noise import sample_noise, sample_offset
from animetune.diffusion.schedule import noise_schedule, rescale_zero_terminal_snr, scaled_linear_alpha_bar
from animetune.diffusion.weighting import min_snr_weight
from tests.unit.diffusion.gaussian_denoiser import GaussianDenoiser, latent_batch

V_ZERO = DiffusionConfig(prediction="v", zero_terminal_snr=True)


class Silent(GaussianDenoiser):
    """Predicts zero, so that the loss of a sample is the mean square of its target."""

    def predict(self, x_t, timesteps, text, time_ids):
        super().predict(x_t, timesteps, text, time_ids)
        return torch.zeros_like(x_t)


@pytest.mark.parametrize("cfg", [DiffusionConfig(), DiffusionConfig(prediction="v"), V_ZERO])
def test_best_model_has_the_error_that_theory_says(cfg):
    std = 0.7
    models = GaussianDenoiser(std, cfg.prediction, cfg.zero_terminal_snr)
    output = diffusion_loss(models, latent_batch(256, mean=1.5, std=std), cfg, seed=0)
    alpha_bar = scaled_linear_alpha_bar()
    if cfg.zero_terminal_snr:
        alpha_bar = rescale_zero_terminal_snr(alpha_bar)
    alpha_bar_t = alpha_bar[output.timesteps]
    # variance of the noise, or of v, given x_t
    total = alpha_bar_t * std**2 + (1 - alpha_bar_t)
    expected = (alpha_bar_t * std**2 if cfg.prediction == "epsilon" else std**2) / total
    ratio = output.per_sample.double() / expected
    # each is a mean of 192 squares, so it spreads by sqrt(2 / 192) = 0.1 around 1
    assert ratio.mean().item() == pytest.approx(1, abs=4 * 0.102 / 16)
    assert ratio.std().item() == pytest.approx(0.102, rel=0.2)
    assert output.loss.item() == pytest.approx(output.per_sample.mean().item(), rel=1e-6)


def test_a_wrong_mean_a_wrong_scale_and_a_wrong_prediction_type_all_show():
    # the same test as above must fail when the pieces do not fit together
    best = diffusion_loss(GaussianDenoiser(0.7), latent_batch(64, mean=1.5, std=0.7), DiffusionConfig(), seed=0).loss

    class Unscaled(GaussianDenoiser):
        def scale(self, latents):
            return latents

    batch = latent_batch(64, mean=1.5, std=0.7)
    wrong_prompt = dataclasses.replace(batch, token_ids=torch.zeros_like(batch.token_ids))
    for models, wrong_batch in [
        (GaussianDenoiser(0.7), wrong_prompt),
        (Unscaled(0.7), batch),
        (GaussianDenoiser(0.7, "v"), batch),
    ]:
        assert diffusion_loss(models, wrong_batch, DiffusionConfig(), seed=0).loss > 1.1 * best


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_loss_is_weighted_and_per_sample_is_not(zero_terminal_snr):
    plain_cfg = DiffusionConfig(prediction="v", zero_terminal_snr=zero_terminal_snr)
    cfg = plain_cfg.model_copy(update={"weighting": MinSnrWeighting(gamma=5.0)})
    batch = latent_batch(6)
    batch.loss_weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0, 3.0])
    batch.share = 0.5
    models = GaussianDenoiser(1.0, "v", zero_terminal_snr)
    plain = diffusion_loss(models, batch, plain_cfg, seed=0)
    weighted = diffusion_loss(models, batch, cfg, seed=0)
    assert torch.equal(plain.per_sample, weighted.per_sample)
    snr_t = noise_schedule(zero_terminal_snr=zero_terminal_snr).snr[weighted.timesteps]
    by_snr = min_snr_weight(snr_t, gamma=5.0, prediction="v")
    # a mean over all six samples, whatever their weights; the share is the trainer's business
    expected = (by_snr * batch.loss_weights * weighted.per_sample).sum() / 6
    assert weighted.loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("timesteps", ["uniform", "stratified"])
def test_micro_batches_see_what_one_large_batch_sees(timesteps):
    cfg = DiffusionConfig(timesteps=timesteps, noise_offset=0.1)
    whole = diffusion_loss(GaussianDenoiser(1.0), latent_batch(6), cfg, seed=4)
    parts = [
        diffusion_loss(GaussianDenoiser(1.0), latent_batch(2, first=first, total=6), cfg, seed=4) for first in (0, 2, 4)
    ]
    assert torch.equal(torch.cat([part.timesteps for part in parts]), whole.timesteps)
    torch.testing.assert_close(torch.cat([part.per_sample for part in parts]), whole.per_sample)
    torch.testing.assert_close(torch.stack([part.loss for part in parts]).mean(), whole.loss)


def test_seed_epoch_and_step_change_the_draw():
    def draw(seed=0, **changes):
        batch = dataclasses.replace(latent_batch(4), **changes)
        models = GaussianDenoiser(1.0)
        return diffusion_loss(models, batch, DiffusionConfig(), seed=seed).per_sample

    first = draw()
    assert torch.equal(draw(), first)
    for other in (draw(seed=1), draw(epoch=4), draw(step=1), draw(rows=torch.arange(4))):
        assert not torch.equal(other, first)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_noise_offset_is_in_the_input_and_in_the_target(prediction):
    cfg = DiffusionConfig(noise_offset=0.2, prediction=prediction)
    batch, models = latent_batch(3), Silent(1.0)
    output = diffusion_loss(models, batch, cfg, seed=9)
    rows, copies = batch.rows.tolist(), batch.copies.tolist()
    noise = sample_noise(rows, copies, (4, 6, 8), seed=9, epoch=3)
    noise = noise + 0.2 * sample_offset(rows, copies, 4, seed=9, epoch=3)
    alpha_bar_t = scaled_linear_alpha_bar()[output.timesteps][:, None, None, None]
    alpha_t, sigma_t = alpha_bar_t.sqrt(), (1 - alpha_bar_t).sqrt()
    x_0 = 2 * batch.latents
    target = noise if prediction == "epsilon" else alpha_t * noise - sigma_t * x_0
    torch.testing.assert_close(models.calls[0]["x_t"], (alpha_t * x_0 + sigma_t * noise).float())
    torch.testing.assert_close(output.per_sample, target.square().mean(dim=(1, 2, 3)).float())


def test_everything_is_float32_even_for_bfloat16_latents_and_predictions():
    class Half(GaussianDenoiser):
        def predict(self, x_t, timesteps, text, time_ids):
            return super().predict(x_t, timesteps, text, time_ids).bfloat16()

        def scale(self, latents):
            # SDXL's factor, 0.13025, rounds latents off if it is applied in bfloat16
            assert latents.dtype == torch.float32
            return super().scale(latents)

    batch, models = latent_batch(4), Half(1.0)
    batch.latents = batch.latents.bfloat16()
    output = diffusion_loss(models, batch, DiffusionConfig(), seed=0)
    assert models.calls[0]["x_t"].dtype == torch.float32
    assert models.calls[0]["time_ids"].dtype == torch.float32
    assert models.calls[0]["timesteps"].dtype == torch.int64
    assert output.loss.dtype == output.per_sample.dtype == torch.float32


def test_pixels_go_through_the_vae_and_the_scale():
    pixels = torch.randint(0, 256, (3, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    models = GaussianDenoiser(1.0)
    from_pixels = dataclasses.replace(latent_batch(3), latents=None, pixels=pixels)
    from_latents = dataclasses.replace(latent_batch(3), latents=models.encode_pixels(pixels))
    cfg = DiffusionConfig()
    assert torch.equal(
        diffusion_loss(models, from_pixels, cfg, seed=0).loss, diffusion_loss(models, from_latents, cfg, seed=0).loss
    )


def test_a_batch_with_nothing_in_it_is_refused():
    with pytest.raises(ValueError, match="neither latents nor pixels"):
        diffusion_loss(
            GaussianDenoiser(1.0), dataclasses.replace(latent_batch(1), latents=None), DiffusionConfig(), seed=0
        )


def test_gradient_reaches_the_model_through_both_calls():
    class Learning(GaussianDenoiser):
        def encode_text(self, token_ids):
            return super().encode_text(token_ids) + text_parameter

        def predict(self, x_t, timesteps, text, time_ids):
            return super().predict(x_t, timesteps, text, time_ids) * parameter

    text_parameter = torch.zeros((), requires_grad=True)
    parameter = torch.ones((), requires_grad=True)
    output = diffusion_loss(Learning(1.0), latent_batch(4), DiffusionConfig(), seed=0)
    output.loss.backward()
    assert parameter.grad.item() != 0
    assert text_parameter.grad.item() != 0
    assert not output.per_sample.requires_grad
