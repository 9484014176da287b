"""From prompts to pictures: text, sampler and VAE in one call, in batches of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol

import numpy as np
import torch

from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.diffusion.denoiser import TextT
from animetune.diffusion.draw_config import PLAIN, TextConfig, UpscaleConfig
from animetune.diffusion.readings import Reader, ReadingModel
from animetune.diffusion.sampler import Start, denoise
from animetune.diffusion.stops import steps_made
from animetune.diffusion.upscale import enlarge_latents, enlarge_pixels
from animetune.errors import ConfigError, DataError
from animetune.records import PIXELS_PER_CELL, Init, Request, Size

TILE_ABOVE = 2048 * 2048
"""Pixels above which a picture passes the VAE in tiles."""


class DrawingModel(ReadingModel[TextT], Protocol[TextT]):
    """A denoiser that can also decode."""

    def encode_pixels(self, pixels: torch.Tensor, *, tiled: bool = False) -> torch.Tensor:
        """The VAE's posterior mean, unscaled, float32 (b, 4, h, w), of uint8 RGB pixels (b, 3, 8 h, 8 w)."""
        ...

    def decode(self, latents: torch.Tensor, *, tiled: bool = False) -> torch.Tensor:
        """uint8 RGB (b, 3, 8 h, 8 w) of scaled latents, float32 (b, 4, h, w)."""
        ...


class _Kind(NamedTuple):
    """What requests have to have in common to share a batch."""

    size: Size
    chunks: int
    begins: bool
    """From a picture of their own."""
    steps: int


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

    Requests of one size share a batch; a prompt and its negative get as many chunks of tokens as the longer needs. A
    picture depends on its own request, not on its batch mates; on a GPU, and on a CPU of many threads, the sums of
    larger batches may round differently in the last bit.

    Args:
        models: the model, on `device`.
        requests: what to draw.
        diffusion: what the model was trained with.
        sampler: how to draw.
        text: how to read the prompts.
        upscale: a second pass, whose pictures have the size `upscale.size_of(request.size)`.
        device: where `models` are.
        batch_size: pictures at once; in the second pass too.
        tile_above: pixels above which a picture is encoded and decoded in tiles.

    Raises:
        ConfigError: settings that the model cannot be drawn with, or a size that is not of whole cells.
        DataError: a picture to begin from that has another size than its request.
    """
    hand = _Hand(models, Reader(models, text, device), diffusion, sampler, upscale, device, tile_above)
    hand.check(requests)
    kinds = [hand.kind(request) for request in requests]
    order = sorted(range(len(requests)), key=lambda place: (kinds[place], place))
    batch: list[int] = []
    for position, place in enumerate(order):
        batch.append(place)
        following = order[position + 1] if position + 1 < len(order) else None
        if len(batch) == batch_size or following is None or kinds[following] != kinds[place]:
            yield from zip(batch, hand.draw([requests[i] for i in batch], kinds[place]), strict=True)
            batch = []


@dataclass(frozen=True)
class _Hand(Generic[TextT]):
    models: DrawingModel[TextT]
    reader: Reader[TextT]
    diffusion: DiffusionConfig
    sampler: SamplerConfig
    upscale: UpscaleConfig | None
    device: torch.device | str
    tile_above: int

    def check(self, requests: Sequence[Request]) -> None:
        """Raise ConfigError for what would fail at a batch's turn."""
        for request in requests:
            if request.size.width % PIXELS_PER_CELL or request.size.height % PIXELS_PER_CELL:
                raise ConfigError(
                    f"{request.prompt[:60]!r}: size {request.size.name}: both sides have to be multiples of "
                    f"{PIXELS_PER_CELL} pixels"
                )
            if request.init is not None and not 0 <= request.init.strength <= 1:
                raise ConfigError(f"{request.init.name}: strength {request.init.strength:g} is not between 0 and 1")
        second = self.upscale.sampler if self.upscale is not None else None
        for name, sampler in (("sampler", self.sampler), ("upscale.sampler", second)):
            if sampler is not None and (problem := sampler.misfit(self.diffusion)):
                raise ConfigError(problem.replace("sampler", name, 1))

    def kind(self, request: Request) -> _Kind:
        """What the request's batch mates have in common with it."""
        chunks = max(self.reader.chunks(request.prompt), self.reader.chunks(request.negative))
        steps = self.sampler.steps
        if request.init is not None:
            steps = steps_made(steps, request.init.strength)
        return _Kind(request.size, chunks, request.init is not None, steps)

    @torch.no_grad()
    def draw(self, requests: Sequence[Request], kind: _Kind) -> Iterator[np.ndarray]:
        """The pictures of one batch."""
        start = None
        if kind.begins:
            start = Start(self._encode([_read_init(request) for request in requests]), _strength(requests))
        latents = self._pass(requests, kind.chunks, self.sampler, kind.size, start)
        if self.upscale is not None:
            size = self.upscale.size_of(kind.size)
            start = Start(self._enlarged(latents, size, self.upscale), self.upscale.strength)
            latents = self._pass(requests, kind.chunks, self.upscale.sampler or self.sampler, size, start, part=1)
        for latent in latents:
            yield self._decode(latent)

    def _pass(
        self,
        requests: Sequence[Request],
        chunks: int,
        sampler: SamplerConfig,
        size: Size,
        start: Start | None,
        part: int = 0,
    ) -> torch.Tensor:
        prompts = [request.prompt for request in requests]
        if sampler.cfg_scale != 1:
            prompts += [request.negative for request in requests]
        return denoise(
            self.models,
            self.reader.read(prompts, chunks),
            seeds=[request.seed for request in requests],
            size=size,
            diffusion=self.diffusion,
            sampler=sampler,
            device=self.device,
            start=start,
            part=part,
        )

    def _enlarged(self, latents: torch.Tensor, size: Size, upscale: UpscaleConfig) -> torch.Tensor:
        if upscale.space == "latent":
            return enlarge_latents(latents, size, upscale)
        return self._encode([enlarge_pixels(self._decode(latent), size, upscale) for latent in latents])

    def _decode(self, latent: torch.Tensor) -> np.ndarray:
        """One at a time: a decoded SDXL picture takes gigabytes of activations."""
        tiled = latent[0].numel() * PIXELS_PER_CELL**2 > self.tile_above
        pixels: np.ndarray = self.models.decode(latent[None], tiled=tiled)[0].permute(1, 2, 0).cpu().numpy()
        return pixels

    def _encode(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents, (b, 4, h, w), of uint8 RGB (8 h, 8 w, 3), one at a time."""
        latents = []
        for picture in pictures:
            pixels = torch.from_numpy(np.array(picture.transpose(2, 0, 1), order="C"))[None].to(self.device)
            latents.append(self.models.encode_pixels(pixels, tiled=picture[..., 0].size > self.tile_above))
        return self.models.scale(torch.cat(latents))


def _read_init(request: Request) -> np.ndarray:
    init = _init(request)
    pixels = init.read()
    if pixels.shape != (request.size.height, request.size.width, 3) or pixels.dtype != np.uint8:
        raise DataError(
            f"{init.name}: the picture to begin from is {pixels.dtype} {pixels.shape}, not RGB of {request.size.name}; "
            "resize it first"
        )
    return pixels


def _strength(requests: Sequence[Request]) -> float:
    """That of the first: all of a batch make the same steps, which is all that it decides."""
    return _init(requests[0]).strength


def _init(request: Request) -> Init:
    assert request.init is not None
    return request.init
