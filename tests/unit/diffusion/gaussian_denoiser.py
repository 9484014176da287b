"""A model in closed form: the best denoiser for data that is normally distributed around a mean set by the prompt.

The mean is the second token id divided by ten, so tests can see which prompt a prediction was made for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from animetune.diffusion.config import Prediction
from animetune.diffusion.schedule import rescale_zero_terminal_snr, scaled_linear_alpha_bar
from animetune.records import Batch, Size

SIZE = Size(64, 48)


@dataclass
class GaussianDenoiser:
    """Data ~ N(mean, std^2); a scaling factor of 2 and a VAE that averages 8x8 pixels."""

    std: float
    prediction: Prediction = "epsilon"
    zero_terminal_snr: bool = False
    calls: list[dict[str, torch.Tensor]] = field(default_factory=list)

    def encode_text(self, token_ids: torch.Tensor) -> torch.Tensor:
        return (token_ids[:, 0, 1].double() / 10)[:, None, None, None]

    def drop_pooled(self, text: torch.Tensor, dropped: torch.Tensor) -> torch.Tensor:
        return text.masked_fill(dropped[:, None, None, None], 0)

    def predict(
        self, x_t: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor, time_ids: torch.Tensor
    ) -> torch.Tensor:
        self.calls.append({"x_t": x_t, "timesteps": timesteps, "text": text, "time_ids": time_ids})
        alpha_t, sigma_t = self._coefficients(timesteps)
        x = x_t.double()
        # E[x_0 | x_t] of a linear Gaussian model
        x_0 = text + alpha_t * self.std**2 / (alpha_t**2 * self.std**2 + sigma_t**2) * (x - alpha_t * text)
        noise = sigma_t * (x - alpha_t * text) / (alpha_t**2 * self.std**2 + sigma_t**2)
        match self.prediction:
            case "epsilon":
                return noise.float()
            case "v":
                return (alpha_t * noise - sigma_t * x_0).float()
            case "flow":
                return (noise - x_0).float()

    def _coefficients(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.prediction == "flow":
            assert timesteps.dtype == torch.float32, "a flow's times are not rounded"
            t = (timesteps.double() / 1000)[:, None, None, None]
            return 1 - t, t
        assert timesteps.dtype == torch.int64
        alpha_bar = scaled_linear_alpha_bar()
        if self.zero_terminal_snr:
            alpha_bar = rescale_zero_terminal_snr(alpha_bar)
        alpha_bar_t = alpha_bar[timesteps][:, None, None, None]
        return alpha_bar_t.sqrt(), (1 - alpha_bar_t).sqrt()

    def scale(self, latents: torch.Tensor) -> torch.Tensor:
        return latents * 2

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        rgb = torch.nn.functional.avg_pool2d(pixels.float() / 127.5 - 1, 8)
        return torch.cat([rgb, rgb.mean(dim=1, keepdim=True)], dim=1)


def tokens(*means: float) -> torch.Tensor:
    """Token ids of prompts with these means: int64 (b, 2, 77)."""
    ids = torch.zeros(len(means), 2, 77, dtype=torch.int64)
    ids[:, :, 1] = torch.tensor([round(mean * 10) for mean in means])[:, None]
    return ids


def latent_batch(
    count: int = 6, *, first: int = 0, total: int | None = None, mean: float = 0.0, std: float = 1.0, step: int = 0
) -> Batch:
    """Samples from `first` on of a global batch of `total`; latents ~ N(mean, std^2) once scaled by 2."""
    index = torch.arange(first, first + count)
    latents = [
        np.random.Generator(np.random.Philox(key=int(i))).standard_normal((4, SIZE.height // 8, SIZE.width // 8))
        for i in index
    ]
    return Batch(
        size=SIZE,
        epoch=3,
        step=step,
        rows=index + 1000,
        copies=index % 2,
        slots=index,
        token_ids=tokens(*[mean] * count),
        time_ids=torch.tensor([[48.0, 64.0, 0.0, 0.0, 48.0, 64.0]]).expand(count, 6),
        loss_weights=torch.ones(count),
        share=1.0,
        global_batch=total or first + count,
        prompts=[""] * count,
        latents=torch.from_numpy((np.stack(latents) * std + mean) / 2).float(),
    )
