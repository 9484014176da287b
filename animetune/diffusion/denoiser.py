"""What the diffusion process asks of a model. `animetune.models.Sdxl` fits; so does a closed formula in a test."""

from __future__ import annotations

from typing import Protocol, TypeVar

import torch

TextT = TypeVar("TextT")
"""Whatever the model makes of a prompt; passed from `encode_text` to `predict` unopened."""


class DenoiserProtocol(Protocol[TextT]):
    """Text encoders, denoiser and VAE behind five functions. b: samples; h, w: latent cells of 8 pixels."""

    def encode_text(self, token_ids: torch.Tensor) -> TextT:
        """Conditioning of int64 token ids (b, 2, 77 * chunks)."""
        ...

    def drop_pooled(self, text: TextT, dropped: torch.Tensor) -> TextT:
        """The conditioning with zeros for the pooled vector of the samples that bool `dropped` (b,) marks."""
        ...

    def predict(self, x_t: torch.Tensor, timesteps: torch.Tensor, text: TextT, time_ids: torch.Tensor) -> torch.Tensor:
        """Epsilon, v or the velocity of a flow, float32 like x_t (b, 4, h, w), for float32 time_ids (b, 6).

        `timesteps` (b,) are int64, or for a flow float32, 1000 t (`schedule.NoiseLevels`).
        """
        ...

    def scale(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as the denoiser knows them (near unit variance), from the VAE's posterior mean."""
        ...

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """The VAE's posterior mean, unscaled, float32 (b, 4, h, w), of uint8 RGB pixels (b, 3, 8 h, 8 w)."""
        ...
