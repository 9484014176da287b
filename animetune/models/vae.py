"""The VAE: pixels to latents and back, and the digest that ties latents to the VAE that made them.

Latents are stored and passed UNSCALED, as the posterior mean; the UNet works on `latent * scaling_factor`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor


@torch.no_grad()
def encode_pixels(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """The unscaled posterior mean, float32 (b, 4, h / 8, w / 8), of RGB uint8 (b, 3, h, w)."""
    return encode_posterior(vae, pixels)[0]


@torch.no_grad()
def encode_posterior(vae: AutoencoderKL, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The posterior of RGB uint8 (b, 3, h, w): mean and standard deviation, unscaled, float32 (b, 4, h / 8, w / 8)."""
    # 127.5 maps 0 to -1 and 255 to 1 exactly.
    posterior = vae.encode(pixels.to(vae.dtype) / 127.5 - 1).latent_dist
    return posterior.mean.float(), torch.exp(0.5 * posterior.logvar.float())


@torch.no_grad()
def decode_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """RGB uint8 (b, 3, 8 h, 8 w) of unscaled latents (b, 4, h, w)."""
    images = vae.decode(latents.to(vae.dtype)).sample.float()
    return ((images / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)


@contextlib.contextmanager
def tiling(vae: AutoencoderKL, *, enabled: bool) -> Iterator[None]:
    """Within the block pictures larger than the VAE's own size pass it in overlapping, blended tiles of that size.

    That takes the memory of one tile, but each sees its own surroundings only: colours may drift from tile to tile.
    """
    before = vae.use_tiling
    vae.use_tiling = enabled
    try:
        yield
    finally:
        vae.use_tiling = before


def vae_digest(vae: AutoencoderKL) -> str:
    """SHA-256 of the VAE's weights in float32, by name: equal for the same VAE from a folder or a single file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
