"""From noise to latents: Euler and Euler ancestral, for epsilon, v and flow, with or without a zero terminal SNR.

These are k-diffusion's steps from a noise level to the next, `level` = sigma_t / alpha_t, on x / alpha_t (Karras et al.
2022). They are written in the schedule's own coordinates instead,

    x_s = alpha_s (x_0 + down * noise + up * fresh noise),    down^2 + up^2 = level_s^2

where x_0 and noise are what the model's output at x_t stands for. The update is the same (Euler is DDIM with eta = 0),
but finite where alpha_t = 0: a model with zero terminal SNR is sampled from pure noise, without a clipped schedule.
For a flow Euler is x_s = x_t + (s - t) u, the plain step along its velocity (Liu et al. 2022, 2209.03003, section 2.2).

Euler ancestral draws what it adds by the same rule for all: at each step the noise is as new as DDPM's posterior makes
it. ComfyUI takes the rule over to a flow's own t, which leaves more of the old noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch

from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.diffusion.denoiser import DenoiserProtocol, TextT
from animetune.diffusion.schedule import NUM_TIMESTEPS, noise_schedule, shift_time
from animetune.diffusion.targets import split_prediction
from animetune.errors import ConfigError
from animetune.records import LATENT_CHANNELS, PIXELS_PER_CELL, Size
from animetune.seeding import Purpose, rng_for


class Stop(NamedTuple):
    """A place on the way from noise to data."""

    timestep: float
    """What the model is told: an integer, unless it is a flow's."""
    alpha: float
    sigma: float

    @property
    def level(self) -> float:
        """sigma / alpha, infinite for pure noise."""
        return self.sigma / self.alpha if self.alpha else math.inf


CLEAN = Stop(timestep=0, alpha=1.0, sigma=0.0)


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

    Picture i depends on its own prompt and `seeds[i]` only, not on the others of the batch. The micro-conditioning is
    that of an uncropped picture of this size, (h, w, 0, 0, h, w), as ComfyUI's default.

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
        ConfigError: a flow, or a model with zero terminal SNR, with leading spacing, which never visits the last
            timestep; a shift for another model than a flow.
    """
    if size.width % PIXELS_PER_CELL or size.height % PIXELS_PER_CELL:
        raise ValueError(f"size {size.name}: both sides have to be multiples of {PIXELS_PER_CELL} pixels")
    if token_ids.shape != negative_ids.shape or len(token_ids) != len(seeds):
        raise ValueError(
            f"token_ids {tuple(token_ids.shape)}, negative_ids {tuple(negative_ids.shape)} and {len(seeds)} seeds do "
            "not belong together: prompts and negatives need the same number of chunks, and each prompt one seed"
        )
    way = [*stops(sampler, diffusion, size), CLEAN]
    guided = sampler.cfg_scale != 1
    passes = 2 if guided else 1
    device = token_ids.device
    text = models.encode_text(torch.cat([token_ids, negative_ids]) if guided else token_ids)
    uncropped = torch.tensor([size.height, size.width, 0, 0, size.height, size.width], dtype=torch.float32)
    time_ids = uncropped.expand(passes * len(seeds), 6).to(device)

    rngs = [rng_for(seed, Purpose.SAMPLE) for seed in seeds]
    shape = (LATENT_CHANNELS, *size.cells)

    def fresh_noise() -> torch.Tensor:
        return torch.from_numpy(np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs])).to(device)

    x = fresh_noise()
    for here, there in itertools.pairwise(way):
        kind = torch.float32 if diffusion.prediction == "flow" else torch.int64
        timesteps = torch.full((passes * len(seeds),), here.timestep, dtype=kind, device=device)
        output = models.predict(x.repeat(passes, 1, 1, 1), timesteps, text, time_ids).float()
        if guided:
            conditional, unconditional = output.chunk(2)
            output = unconditional + sampler.cfg_scale * (conditional - unconditional)
        x_0, noise = split_prediction(
            x, output, alpha_t=here.alpha, sigma_t=here.sigma, prediction=diffusion.prediction
        )
        down = there.level**2 / here.level if sampler.name == "euler_ancestral" else there.level
        up = math.sqrt(there.level**2 - down**2)
        x = there.alpha * (x_0 + down * noise + (up * fresh_noise() if up else 0))
    return x


def stops(sampler: SamplerConfig, diffusion: DiffusionConfig, size: Size) -> list[Stop]:
    """Where the model is evaluated, from the most noise to the least: `sampler.steps` places.

    Those of a flow are 1, 1 - 1 / steps, ..., shifted (Esser et al. 2024, equation 23): ComfyUI's scheduler `simple`.
    """
    if problem := sampler.misfit(diffusion):
        raise ConfigError(problem)
    if diffusion.prediction == "flow":
        shift = sampler.shift or diffusion.shift_at(size)
        times = shift_time(1 - torch.arange(sampler.steps, dtype=torch.float64) / sampler.steps, shift).tolist()
        return [Stop(NUM_TIMESTEPS * t, 1 - t, t) for t in times]
    schedule = noise_schedule(zero_terminal_snr=diffusion.zero_terminal_snr)
    alphas, sigmas = schedule.alpha.tolist(), schedule.sigma.tolist()
    return [Stop(t, alphas[t], sigmas[t]) for t in spaced_timesteps(sampler.steps, sampler.spacing)]


def spaced_timesteps(steps: int, spacing: Literal["leading", "trailing"]) -> list[int]:
    """The `steps` timesteps to visit, falling (Lin et al. 2023, section 3.3).

    trailing begins at 999; leading ends at 1, as diffusers with SDXL's steps_offset.
    """
    if spacing == "trailing":
        return [round(NUM_TIMESTEPS - i * NUM_TIMESTEPS / steps) - 1 for i in range(steps)]
    return [i * (NUM_TIMESTEPS // steps) + 1 for i in reversed(range(steps))]
