"""The training step, from a batch to a loss, in the order in which it happens."""

from __future__ import annotations

from typing import NamedTuple

import torch

from animetune.diffusion.config import DiffusionConfig
from animetune.diffusion.denoiser import DenoiserProtocol, TextT
from animetune.diffusion.noise import add_noise, sample_noise, sample_offset
from animetune.diffusion.schedule import noise_schedule
from animetune.diffusion.targets import training_target
from animetune.diffusion.timesteps import stratified_timesteps, uniform_timesteps
from animetune.diffusion.weighting import loss_weight
from animetune.records import Batch


class LossOutput(NamedTuple):
    """What a training step gives back; all on the batch's device."""

    loss: torch.Tensor
    """float32 scalar with gradient: mean over the samples of weight * loss_weight * squared error. Not yet times
    `batch.share`, which makes the mean over micro-batches a mean over samples."""
    per_sample: torch.Tensor
    """float32 (b,), detached: mean squared error of each sample, before any weight, so that runs can be compared."""
    timesteps: torch.Tensor
    """int64 (b,)"""


def diffusion_loss(models: DenoiserProtocol[TextT], batch: Batch, cfg: DiffusionConfig, *, seed: int) -> LossOutput:
    """The loss of one micro-batch (Ho et al. 2020, equation 14, with the target, weight and noise of `cfg`).

    The same (seed, batch) gives the same timesteps and noise on every device, rank and restart. All of it is float32:
    `models` may compute in bfloat16, but it takes and returns float32.
    """
    x_0 = clean_latents(models, batch)
    text = models.encode_text(batch.token_ids)

    # Everything random is drawn on the CPU. Ids that lie on a GPU cost a wait for its queue here.
    rows, copies, slots = batch.rows.tolist(), batch.copies.tolist(), batch.slots.tolist()
    key = {"seed": seed, "epoch": batch.epoch}
    if cfg.timesteps == "stratified":
        t = stratified_timesteps(slots, step=batch.step, global_batch=batch.global_batch, **key)
    else:
        t = uniform_timesteps(rows, copies, **key)
    noise = sample_noise(rows, copies, tuple(x_0.shape[1:]), **key)
    if cfg.noise_offset:
        noise += cfg.noise_offset * sample_offset(rows, copies, x_0.shape[1], **key)
    noise = noise.to(x_0.device)

    schedule = noise_schedule(zero_terminal_snr=cfg.zero_terminal_snr)
    alpha_t = schedule.alpha[t].to(x_0.device)[:, None, None, None]
    sigma_t = schedule.sigma[t].to(x_0.device)[:, None, None, None]
    snr_t = schedule.snr[t].to(x_0.device)
    t = t.to(x_0.device)

    x_t = add_noise(x_0, noise, alpha_t=alpha_t, sigma_t=sigma_t)
    output = models.predict(x_t, t, text, batch.time_ids).float()
    target = training_target(x_0, noise, alpha_t=alpha_t, sigma_t=sigma_t, prediction=cfg.prediction)

    per_sample = (output - target).square().mean(dim=(1, 2, 3))
    weight = loss_weight(cfg.weighting, snr_t, prediction=cfg.prediction) * batch.loss_weights
    return LossOutput((weight * per_sample).mean(), per_sample.detach(), t)


def clean_latents(models: DenoiserProtocol[TextT], batch: Batch) -> torch.Tensor:
    """x_0: scaled latents, float32 (b, 4, h, w), from the batch's latents, or its pixels through the VAE."""
    if batch.latents is not None:
        return models.scale(batch.latents.float())
    if batch.pixels is not None:
        with torch.no_grad():
            return models.scale(models.encode_pixels(batch.pixels).float())
    raise ValueError("the batch holds neither latents nor pixels")
