"""The training step: against the known loss of the best model, and every switch against its formula."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from animetune.diffusion.config import (
    ConditioningDropout,
    DiffusionConfig,
    HuberLoss,
    LogitNormalTimesteps,
    MinSnrWeighting,
    MultiresNoise,
    UniformTimesteps,
)
from animetune.diffusion.loss import VALIDATION_EPOCH, diffusion_loss, validation_loss
from animetune.diffusion.noise import perturbed, sample_noise, training_noise
from animetune.diffusion.schedule import noise_schedule, rescale_zero_terminal_snr, scaled_linear_alpha_bar
from animetune.diffusion.weighting import loss_weight
from animetune.models.tiny import build_tiny
from animetune.seeding import SampleKeys
from tests.unit.diffusion.gaussian_denoiser import GaussianDenoiser, latent_batch

V_ZERO = DiffusionConfig(prediction="v", zero_terminal_snr=True)
FLOW = DiffusionConfig(prediction="flow")
SHAPE = (4, 6, 8)


class Silent(GaussianDenoiser):
    """Predicts zero, so that the loss of a sample is the mean square of its target."""

    def predict(self, x_t, timesteps, text, time_ids):
        super().predict(x_t, timesteps, text, time_ids)
        return torch.zeros_like(x_t)


def keys_of(batch, seed, epoch=3):
    return SampleKeys(seed, epoch, batch.rows.tolist(), batch.copies.tolist())


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
    by_snr = loss_weight(MinSnrWeighting(gamma=5.0), snr_t, prediction="v")
    # a mean over all six samples, whatever their weights; the share is the trainer's business
    expected = (by_snr * batch.loss_weights * weighted.per_sample).sum() / 6
    assert weighted.loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    "timesteps", [UniformTimesteps(), UniformTimesteps(stratified=False), LogitNormalTimesteps(range=(100, 800))]
)
def test_micro_batches_see_what_one_large_batch_sees(timesteps):
    cfg = DiffusionConfig(
        timesteps=timesteps,
        noise_offset=0.1,
        multires=MultiresNoise(),
        input_perturbation=0.1,
        input_perturbation_random=True,
        conditioning_dropout=ConditioningDropout(pooled=0.5, time_ids=0.5),
    )
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
    noise = training_noise(keys_of(batch, 9), SHAPE, cfg)
    assert not torch.equal(noise, sample_noise(keys_of(batch, 9), SHAPE))
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


def test_best_flow_has_the_error_that_theory_says():
    std = 0.7
    models = GaussianDenoiser(std, "flow")
    output = diffusion_loss(models, latent_batch(256, mean=1.5, std=std), FLOW, seed=0)
    t = models.calls[0]["timesteps"].double() / 1000
    assert torch.equal(output.timesteps, (1000 * t).long())
    assert (1000 * t != output.timesteps).any(), "times of a flow are not rounded"
    # variance of noise - x_0 given x_t = (1 - t) x_0 + t noise
    expected = std**2 / ((1 - t) ** 2 * std**2 + t**2)
    ratio = output.per_sample.double() / expected
    assert ratio.mean().item() == pytest.approx(1, abs=4 * 0.102 / 16)
    assert ratio.std().item() == pytest.approx(0.102, rel=0.2)


def test_a_shift_moves_the_times_of_a_flow():
    plain = diffusion_loss(GaussianDenoiser(1.0, "flow"), latent_batch(64), FLOW, seed=0).timesteps.double()
    shifted_cfg = DiffusionConfig(prediction="flow", shift=3)
    shifted = diffusion_loss(GaussianDenoiser(1.0, "flow"), latent_batch(64), shifted_cfg, seed=0).timesteps.double()
    t = plain / 1000
    torch.testing.assert_close(shifted / 1000, 3 * t / (1 + 2 * t), rtol=0, atol=4e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "flow"])
def test_perturbation_is_in_the_input_and_not_in_the_target(prediction):
    cfg = DiffusionConfig(prediction=prediction, input_perturbation=0.1)
    clean, moved, batch = Silent(1.0, prediction), Silent(1.0, prediction), latent_batch(3)
    without = diffusion_loss(clean, batch, DiffusionConfig(prediction=prediction), seed=9)
    output = diffusion_loss(moved, batch, cfg, seed=9)
    # a model that is silent has the target as its error
    assert torch.equal(output.per_sample, without.per_sample)
    noise = sample_noise(keys_of(batch, 9), SHAPE)
    xi = perturbed(noise, keys_of(batch, 9), cfg) - noise
    sigma_t = clean._coefficients(clean.calls[0]["timesteps"])[1]
    torch.testing.assert_close(moved.calls[0]["x_t"] - clean.calls[0]["x_t"], (sigma_t * xi).float(), rtol=0, atol=1e-6)


def test_everything_together_in_float64():
    # one page of arithmetic that shares nothing with the step but its draws
    cfg = DiffusionConfig(
        prediction="v",
        zero_terminal_snr=True,
        weighting=MinSnrWeighting(gamma=5),
        loss=HuberLoss(c=0.2, schedule="snr"),
        normalize_masks=True,
        noise_offset=0.05,
        multires=MultiresNoise(levels=3, discount=0.4),
        input_perturbation=0.1,
    )
    batch = latent_batch(8, std=0.7)
    batch.masks = torch.rand(8, 1, *SHAPE[1:], generator=torch.Generator().manual_seed(1))
    batch.loss_weights = torch.linspace(0.5, 2, 8)
    models = GaussianDenoiser(0.9, "v", zero_terminal_snr=True)
    found = diffusion_loss(models, batch, cfg, seed=5)

    alpha_bar = rescale_zero_terminal_snr(scaled_linear_alpha_bar())[found.timesteps]
    snr = alpha_bar / (1 - alpha_bar)
    a, s = (root.sqrt()[:, None, None, None] for root in (alpha_bar, 1 - alpha_bar))
    x_0 = 2 * batch.latents.double()
    noise = training_noise(keys_of(batch, 5), SHAPE, cfg)
    x_t = a * x_0 + s * perturbed(noise, keys_of(batch, 5), cfg).double()
    text = models.encode_text(batch.token_ids)
    error = models.predict(x_t, found.timesteps, text, batch.time_ids).double() - (a * noise.double() - s * x_0)
    c = (0.8 / (1 + ((1 - alpha_bar) / alpha_bar).sqrt()) ** 2 + 0.2)[:, None, None, None]
    cells = 2 * c * ((error**2 + c**2).sqrt() - c) * batch.masks
    losses = cells.mean(dim=(1, 2, 3)) / batch.masks.double().mean(dim=(1, 2, 3))
    weights = torch.minimum(snr, torch.tensor(5.0)) / (snr + 1) * batch.loss_weights
    assert found.loss.item() == pytest.approx((weights * losses).mean().item(), rel=1e-5)
    torch.testing.assert_close(found.per_sample.double(), error.square().mean(dim=(1, 2, 3)), rtol=1e-5, atol=0)


def test_a_mask_leaves_out_what_it_hides_and_the_figure_shown_keeps_it():
    batch = latent_batch(2)
    plain = diffusion_loss(GaussianDenoiser(1.0), batch, DiffusionConfig(), seed=0)
    batch.masks = torch.zeros(2, 1, *SHAPE[1:])
    hidden = diffusion_loss(GaussianDenoiser(1.0), batch, DiffusionConfig(), seed=0)
    assert hidden.loss.item() == 0
    assert torch.equal(hidden.per_sample, plain.per_sample)
    batch.masks[..., :4] = 1
    half = diffusion_loss(GaussianDenoiser(1.0), batch, DiffusionConfig(), seed=0)
    whole = diffusion_loss(GaussianDenoiser(1.0), batch, DiffusionConfig(normalize_masks=True), seed=0)
    assert whole.loss.item() == pytest.approx(2 * half.loss.item(), rel=1e-6)
    batch.masks[:] = 1
    assert torch.equal(diffusion_loss(GaussianDenoiser(1.0), batch, DiffusionConfig(), seed=0).loss, plain.loss)


def test_conditioning_is_dropped_by_its_shares_and_apart():
    cfg = DiffusionConfig(conditioning_dropout=ConditioningDropout(pooled=0.2, time_ids=0.5))
    batch, models = latent_batch(4000, mean=2.0), Silent(1.0)
    diffusion_loss(models, batch, cfg, seed=3)
    pooled = models.calls[0]["text"].flatten() == 0
    time_ids = models.calls[0]["time_ids"]
    ids = (time_ids == 0).all(dim=1)
    assert torch.equal(time_ids[~ids], batch.time_ids[~ids])
    for dropped, share in ((pooled, 0.2), (ids, 0.5), (pooled & ids, 0.1)):
        assert dropped.double().mean().item() == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5)
    assert torch.equal(batch.time_ids, latent_batch(1).time_ids.expand(4000, 6)), "the batch itself is as it was"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_conditioning_dropout_of_none_and_of_all(share):
    cfg = DiffusionConfig(conditioning_dropout=ConditioningDropout(pooled=share, time_ids=share))
    models = Silent(1.0)
    diffusion_loss(models, latent_batch(50, mean=2.0), cfg, seed=3)
    assert (models.calls[0]["text"] == 2.0 * (1 - share)).all()
    assert (models.calls[0]["time_ids"] == 0).all().item() is bool(share)


@pytest.mark.parametrize("cfg", [DiffusionConfig(), V_ZERO, FLOW])
def test_validation_is_the_error_at_given_times_and_fixed_noise(cfg):
    models = Silent(1.0, cfg.prediction, cfg.zero_terminal_snr)
    batch, timesteps = latent_batch(3), torch.tensor([100, 500, 900])
    found = validation_loss(models, batch, cfg, timesteps, seed=4)
    noise = sample_noise(keys_of(batch, 4, VALIDATION_EPOCH), SHAPE).double()
    alpha_t, sigma_t = models._coefficients(models.calls[0]["timesteps"])
    x_0 = 2 * batch.latents.double()
    target = {"epsilon": noise, "v": alpha_t * noise - sigma_t * x_0, "flow": noise - x_0}[cfg.prediction]
    torch.testing.assert_close(found.double(), target.square().mean(dim=(1, 2, 3)), rtol=1e-5, atol=0)
    assert models.calls[0]["timesteps"].tolist() == [100, 500, 900]
    torch.testing.assert_close(models.calls[0]["x_t"].double(), alpha_t * x_0 + sigma_t * noise, rtol=0, atol=1e-5)


def test_validation_depends_on_nothing_but_model_pictures_and_times():
    cfg = DiffusionConfig(
        weighting=MinSnrWeighting(),
        loss=HuberLoss(),
        noise_offset=0.1,
        multires=MultiresNoise(),
        input_perturbation=0.1,
        conditioning_dropout=ConditioningDropout(time_ids=1.0, pooled=1.0),
    )
    timesteps = torch.tensor([100, 500, 900])
    plain = validation_loss(GaussianDenoiser(1.0), latent_batch(3), DiffusionConfig(), timesteps, seed=4)
    later = dataclasses.replace(
        latent_batch(3), epoch=9, step=77, loss_weights=torch.zeros(3), masks=torch.zeros(3, 1, *SHAPE[1:])
    )
    assert torch.equal(validation_loss(GaussianDenoiser(1.0), later, cfg, timesteps, seed=4), plain)
    assert not torch.equal(validation_loss(GaussianDenoiser(1.0), later, cfg, timesteps, seed=5), plain)
    assert not plain.requires_grad


def test_a_real_unet_learns_with_every_switch_on():
    cfg = DiffusionConfig(
        prediction="flow",
        shift=3,
        shift_by_area=True,
        weighting={"name": "soft_min_snr"},
        loss={"name": "smooth_l1"},
        noise_offset=0.05,
        multires=MultiresNoise(),
        input_perturbation=0.1,
        timesteps=LogitNormalTimesteps(range=(100, 900)),
        conditioning_dropout=ConditioningDropout(pooled=0.5, time_ids=0.5),
    )
    models, batch = build_tiny(0), latent_batch(4)
    batch.latents = torch.nn.functional.pad(batch.latents, (0, 0, 0, 2))  # the UNet halves sides twice
    batch.masks = torch.ones(4, 1, 8, 8)
    optimizer = torch.optim.AdamW(models.unet.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        output = diffusion_loss(models, batch, cfg, seed=0)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    assert losses[-1] < 0.9 * losses[0]
