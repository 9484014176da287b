"""From noise, or from a picture, to latents: by any sampler, for epsilon, v and flow, with or without a zero terminal
SNR.

`solvers` has the steps. Euler is k-diffusion's step from a noise level to the next on x / alpha_t (Karras et al. 2022),
written in the schedule's own coordinates,

    x_s = alpha_s (x_0 + down * noise + up * fresh noise),    down^2 + up^2 = level_s^2

where x_0 and noise are what the model's output at x_t stands for. The update is the same (Euler is DDIM with eta = 0),
but finite where alpha_t = 0: a model with zero terminal SNR is sampled from pure noise, without a clipped schedule.
For a flow Euler is x_s = x_t + (s - t) u, the plain step along its velocity (Liu et al. 2022, 2209.03003, section 2.2).

Euler ancestral draws what it adds by the same rule for all: at each step the noise is as new as DDPM's posterior makes
it. ComfyUI takes the rule over to a flow's own t, which leaves more of the old noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.diffusion.denoiser import DenoiserProtocol, TextT
from animetune.diffusion.guidance import guided
from animetune.diffusion.solvers import Look, Trip, default_eta, solve
from animetune.diffusion.stops import CLEAN, Stop, steps_made, stop_at, stops
from animetune.diffusion.targets import split_prediction
from animetune.records import LATENT_CHANNELS, PIXELS_PER_CELL, Size
from animetune.seeding import Purpose, rng_for


class Start(NamedTuple):
    """Where an image-to-image pass begins."""

    latents: torch.Tensor
    """Scaled, float32 (b, 4, h, w)."""
    strength: float
    """0 to 1: the last floor(steps * strength) steps are made."""


@torch.no_grad()
def sample(
    models: DenoiserProtocol[TextT],
    token_ids: torch.Tensor,
    *,
    negative_ids: torch.Tensor,
    seeds: Sequence[int],
    size: Size,
    diffusion: DiffusionConfig,
    sampler: SamplerConfig,
) -> torch.Tensor:
    """Draw one picture per prompt.

    Picture i depends on its own prompt and `seeds[i]` only, not on the others of the batch.

    Args:
        models: the model; its prediction type must be that of `diffusion`.
        token_ids: int64 (b, 2, 77 * chunks), on the model's device.
        negative_ids: the negative prompts (or empty ones), of the same shape; unused if `cfg_scale` is 1.
        seeds: one per picture.
        size: pixels; multiples of 8.
        diffusion: what the model was trained with.
        sampler: how to draw.

    Returns:
        Scaled latents, float32 (b, 4, height / 8, width / 8), for `models.decode`.

    Raises:
        ConfigError: settings that the model cannot be drawn with (`SamplerConfig.misfit`).
    """
    if token_ids.shape != negative_ids.shape or len(token_ids) != len(seeds):
        raise ValueError(
            f"token_ids {tuple(token_ids.shape)}, negative_ids {tuple(negative_ids.shape)} and {len(seeds)} seeds do "
            "not belong together: prompts and negatives need the same number of chunks, and each prompt one seed"
        )
    ids = torch.cat([token_ids, negative_ids]) if sampler.cfg_scale != 1 else token_ids
    return denoise(
        models,
        models.encode_text(ids),
        seeds=seeds,
        size=size,
        diffusion=diffusion,
        sampler=sampler,
        device=token_ids.device,
    )


@torch.no_grad()
def denoise(
    models: DenoiserProtocol[TextT],
    text: TextT,
    *,
    seeds: Sequence[int],
    size: Size,
    diffusion: DiffusionConfig,
    sampler: SamplerConfig,
    device: torch.device | str,
    start: Start | None = None,
    part: int = 0,
) -> torch.Tensor:
    """The latents of one pass, for the text of the prompts and behind it, unless `cfg_scale` is 1, of the negatives.

    Noise comes from each picture's own stream (seed, part); a second pass over the same picture is another part. Not a
    word of it is read back from the device. Arguments else, result and errors as `sample`'s.
    """
    if size.width % PIXELS_PER_CELL or size.height % PIXELS_PER_CELL:
        raise ValueError(f"size {size.name}: both sides have to be multiples of {PIXELS_PER_CELL} pixels")
    way = [*stops(sampler, diffusion, size), CLEAN]
    rngs = [rng_for(seed, Purpose.SAMPLE, *([part] if part else [])) for seed in seeds]
    shape = (LATENT_CHANNELS, *size.cells)

    def fresh_noise() -> torch.Tensor:
        return torch.from_numpy(np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs])).to(device)

    passes = 2 if sampler.cfg_scale != 1 else 1
    time_ids = micro_conditioning(sampler, size).expand(passes * len(seeds), 6).to(device)

    def look(x: torch.Tensor, here: Stop) -> Look:
        kind = torch.float32 if diffusion.prediction == "flow" else torch.int64
        timesteps = torch.full((len(time_ids),), here.timestep, dtype=kind, device=device)
        output = models.predict(x.repeat(passes, 1, 1, 1), timesteps, text, time_ids).float()
        if passes == 2:
            output = guided(*output.chunk(2), scale=sampler.cfg_scale, rescale=sampler.cfg_rescale)
        split = split_prediction(x, output, alpha_t=here.alpha, sigma_t=here.sigma, prediction=diffusion.prediction)
        return Look(*split)

    if start is None:
        x = fresh_noise()
    else:
        way = way[sampler.steps - steps_made(sampler.steps, start.strength) :]
        x = start.latents
        if len(way) > 1:
            x = way[0].alpha * x + way[0].sigma * fresh_noise()
    eta = default_eta(sampler.name) if sampler.eta is None else sampler.eta
    return solve(sampler.name, x, way, Trip(look, fresh_noise, lambda level: stop_at(level, diffusion), eta))


def micro_conditioning(sampler: SamplerConfig, size: Size) -> torch.Tensor:
    """What SDXL is told of a picture, float32 (1, 6): (h, w, top, left, h, w), original size, crop and target size.

    (h, w, 0, 0, h, w) if nothing else is set, as ComfyUI's default.
    """
    original, target = sampler.original_size or size[:2], sampler.target_size or size[:2]
    return torch.tensor([[*original[::-1], *sampler.crop[::-1], *target[::-1]]], dtype=torch.float32)
