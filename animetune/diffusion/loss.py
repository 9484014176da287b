"""The training step, from a batch to a loss, in the order in which it happens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from animetune.diffusion.config import ConditioningDropout, DiffusionConfig, Prediction
from animetune.diffusion.denoiser import DenoiserProtocol, TextT
from animetune.diffusion.noise import add_noise, perturbed, sample_noise, training_noise
from animetune.diffusion.penalty import cell_loss, sample_means
from animetune.diffusion.schedule import NUM_TIMESTEPS, NoiseLevels, noise_levels
from animetune.diffusion.targets import training_target
from animetune.diffusion.timesteps import independent_draws, stratified_draws, times_at
from animetune.diffusion.weighting import loss_weight
from animetune.records import Batch
from animetune.seeding import Purpose, SampleKeys

VALIDATION_EPOCH = -1
"""Epoch in the keys of validation noise, which is the same each time and never that of training."""


class LossOutput(NamedTuple):
    """What a training step gives back; all on the batch's device."""

    loss: torch.Tensor
    """float32 scalar with gradient: mean over the samples of weight * loss_weight * loss. Not yet times `batch.share`,
    which makes the mean over micro-batches a mean over samples."""
    per_sample: torch.Tensor
    """float32 (b,), detached: mean squared error of each sample over the whole picture, whatever the loss, its mask and
    weights are, so that runs can be compared."""
    timesteps: torch.Tensor
    """int64 (b,), 0 to 999; a flow's are rounded down."""


def diffusion_loss(models: DenoiserProtocol[TextT], batch: Batch, cfg: DiffusionConfig, *, seed: int) -> LossOutput:
    """The loss of one micro-batch (Ho et al. 2020, equation 14, with the target, weight and noise of `cfg`).

    The same (seed, batch) gives the same timesteps and noise on every device, rank and restart. All of it is float32:
    `models` may compute in bfloat16, but it takes and returns float32.
    """
    # Everything random is drawn on the CPU. Ids that lie on a GPU cost a wait for its queue here.
    keys = SampleKeys(seed, batch.epoch, batch.rows.tolist(), batch.copies.tolist())
    x_0 = clean_latents(models, batch)
    text, time_ids = conditioning(models, batch, cfg.conditioning_dropout, keys)

    levels = noise_levels(draw_times(batch, cfg, keys), cfg)
    noise = training_noise(keys, (x_0.shape[1], x_0.shape[2], x_0.shape[3]), cfg)
    seen = perturbed(noise, keys, cfg)
    levels, noise, seen = levels.to(x_0.device), noise.to(x_0.device), seen.to(x_0.device)

    x_t = add_noise(x_0, seen, alpha_t=levels.alpha, sigma_t=levels.sigma)
    output = models.predict(x_t, levels.timesteps, text, time_ids).float()
    error = output - target_of(x_0, noise, levels, cfg.prediction)

    losses = sample_means(cell_loss(error, cfg.loss, levels), batch.masks, normalize=cfg.normalize_masks)
    weights = loss_weight(cfg.weighting, levels.snr, prediction=cfg.prediction) * batch.loss_weights
    squared_error = error.detach().square().mean(dim=(1, 2, 3))
    return LossOutput((weights * losses).mean(), squared_error, levels.timesteps.long().clamp(max=NUM_TIMESTEPS - 1))


@torch.no_grad()
def validation_loss(
    models: DenoiserProtocol[TextT], batch: Batch, cfg: DiffusionConfig, timesteps: torch.Tensor, *, seed: int
) -> torch.Tensor:
    """The mean squared error of each sample at given timesteps, float32 (b,) on the batch's device.

    The noise is white and a function of (seed, row, copy) alone, so the figures of two checkpoints differ by the model
    and nothing else. No weight, mask, offset, perturbation or dropout: runs with other losses compare, as long as they
    predict the same.

    Args:
        models: the model, in the mode (`eval`) that the caller wants.
        batch: validation samples.
        cfg: only what the model predicts, and on which schedule.
        timesteps: (b,) in thousandths: int64 from 0 to 999, for a flow also fractions, up to 1000.
        seed: seed of the noise.
    """
    keys = SampleKeys(seed, VALIDATION_EPOCH, batch.rows.tolist(), batch.copies.tolist())
    x_0 = clean_latents(models, batch)
    text = models.encode_text(batch.token_ids)
    levels = noise_levels(timesteps.cpu(), cfg).to(x_0.device)
    noise = sample_noise(keys, tuple(x_0.shape[1:])).to(x_0.device)

    x_t = add_noise(x_0, noise, alpha_t=levels.alpha, sigma_t=levels.sigma)
    output = models.predict(x_t, levels.timesteps, text, batch.time_ids).float()
    return (output - target_of(x_0, noise, levels, cfg.prediction)).square().mean(dim=(1, 2, 3))


def clean_latents(models: DenoiserProtocol[TextT], batch: Batch) -> torch.Tensor:
    """x_0: scaled latents, float32 (b, 4, h, w), from the batch's latents, or its pixels through the VAE."""
    if batch.latents is not None:
        return models.scale(batch.latents.float())
    if batch.pixels is not None:
        with torch.no_grad():
            return models.scale(models.encode_pixels(batch.pixels).float())
    raise ValueError("the batch holds neither latents nor pixels")


def conditioning(
    models: DenoiserProtocol[TextT], batch: Batch, dropout: ConditioningDropout, keys: SampleKeys
) -> tuple[TextT, torch.Tensor]:
    """The text's conditioning and float32 time_ids (b, 6), with zeros where a sample's were dropped.

    Peers zero the numbers of the micro-conditioning (SimpleTuner, mosaicml/diffusion) or its embedding together with
    the pooled vector (naifu); here the numbers and the pooled vector, each by its own draw.
    """
    text, time_ids = models.encode_text(batch.token_ids), batch.time_ids
    if not (dropout.pooled or dropout.time_ids):
        return text, time_ids
    draws = torch.from_numpy(np.stack([rng.random(2) for rng in keys.rngs(Purpose.CONDITIONING)]))
    without_pooled, without_ids = (draws < torch.tensor([dropout.pooled, dropout.time_ids])).to(time_ids.device).T
    return models.drop_pooled(text, without_pooled), time_ids.masked_fill(without_ids[:, None], 0)


def draw_times(batch: Batch, cfg: DiffusionConfig, keys: SampleKeys) -> torch.Tensor:
    """When each sample is trained: float64 (b,) in thousandths, on the CPU."""
    if cfg.timesteps.stratified:
        slots = batch.slots.tolist()
        place = {"epoch": batch.epoch, "step": batch.step, "global_batch": batch.global_batch}
        u = stratified_draws(slots, seed=keys.seed, **place)
    else:
        u = independent_draws(keys)
    return times_at(u, cfg.timesteps, shift=cfg.shift_at(batch.size))


def target_of(x_0: torch.Tensor, noise: torch.Tensor, levels: NoiseLevels, prediction: Prediction) -> torch.Tensor:
    """The tensor that the model's output is compared with, at the samples' levels."""
    return training_target(x_0, noise, alpha_t=levels.alpha, sigma_t=levels.sigma, prediction=prediction)
