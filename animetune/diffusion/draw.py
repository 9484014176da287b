"""From prompts to pictures: tokens, sampler and VAE in one call, in batches of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.diffusion.denoiser import DenoiserProtocol, TextT
from animetune.diffusion.draw_config import PLAIN, TextConfig, UpscaleConfig
from animetune.diffusion.sampler import sample
from animetune.records import Request
from animetune.tokens import CHUNK_BODY, count_tokens, tokenize

TILE_ABOVE = 2048 * 2048
"""Pixels above which a picture passes the VAE in tiles."""


class DrawingModel(DenoiserProtocol[TextT], Protocol[TextT]):
    """A denoiser that can also decode."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (b, 3, 8 h, 8 w) of scaled latents, float32 (b, 4, h, w)."""
        ...


def draw(
    models: DrawingModel[TextT],
    requests: Sequence[Request],
    *,
    diffusion: DiffusionConfig,
    sampler: SamplerConfig,
    text: TextConfig = PLAIN,
    upscale: UpscaleConfig | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 4,
    tile_above: int = TILE_ABOVE,
) -> Iterator[tuple[int, np.ndarray]]:
    """Draw every request; yields (place in `requests`, uint8 RGB (height, width, 3)), size by size.

    Requests of one size share a batch; a prompt and its negative get as many chunks of tokens as the longer needs.
    """
    order = sorted(range(len(requests)), key=lambda place: (requests[place].size, _chunks(requests[place]), place))
    batch: list[int] = []
    for position, place in enumerate(order):
        batch.append(place)
        following = order[position + 1] if position + 1 < len(order) else None
        if len(batch) == batch_size or following is None or _shape(requests[following]) != _shape(requests[place]):
            yield from zip(
                batch, _draw_batch(models, [requests[i] for i in batch], diffusion, sampler, device), strict=True
            )
            batch = []


def _draw_batch(
    models: DrawingModel[TextT],
    requests: list[Request],
    diffusion: DiffusionConfig,
    sampler: SamplerConfig,
    device: torch.device | str,
) -> Iterator[np.ndarray]:
    chunks = _chunks(requests[0])
    latents = sample(
        models,
        _token_ids([request.prompt for request in requests], chunks, device),
        negative_ids=_token_ids([request.negative for request in requests], chunks, device),
        seeds=[request.seed for request in requests],
        size=requests[0].size,
        diffusion=diffusion,
        sampler=sampler,
    )
    for latent in latents:  # one at a time: a decoded SDXL picture takes gigabytes of activations
        with torch.no_grad():
            pixels = models.decode(latent[None])
        yield pixels[0].permute(1, 2, 0).cpu().numpy()


def _token_ids(prompts: list[str], chunks: int, device: torch.device | str) -> torch.Tensor:
    return torch.from_numpy(np.stack([tokenize(prompt, chunks=chunks) for prompt in prompts])).to(device)


def _chunks(request: Request) -> int:
    longest = max(count_tokens(request.prompt), count_tokens(request.negative), 1)
    return -(-longest // CHUNK_BODY)


def _shape(request: Request) -> tuple[object, int]:
    return request.size, _chunks(request)
