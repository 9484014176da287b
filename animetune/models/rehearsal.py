"""A training step on the meta device: every operation with its shapes, no memory and no arithmetic.

What it costs is counted by whoever watches: `flops` its FLOPs, `plan.memory` the bytes that are alive at a time.
"""

from __future__ import annotations

from typing import Any

import torch

from animetune.models.config import ModelConfig
from animetune.models.load import prepare
from animetune.models.sdxl import COMPONENTS, Architecture, Sdxl, build_network
from animetune.records import LATENT_CHANNELS, Size
from animetune.tokens import CHUNK


def meta_models(architecture: Architecture, cfg: ModelConfig) -> Sdxl:
    """The networks without memory, frozen and set up as training would set them up, but never compiled."""
    networks: dict[str, Any] = {}
    with torch.device("meta"):
        for component in COMPONENTS:
            network: torch.nn.Module = build_network(architecture, component)
            dtype = torch.float32 if component == "vae" else getattr(torch, cfg.dtype)
            # Not by diffusers' own `to`, which warns of layers that no network of SDXL has.
            networks[component] = torch.nn.Module.to(network, dtype)
    models = Sdxl(architecture, **networks)
    prepare(models, cfg.model_copy(update={"compile": "none", "offload_frozen": False}))
    return models.train()


def rehearse(models: Sdxl, size: Size, *, batch: int, chunks: int, pixels: bool = False) -> None:
    """Forward and backward pass of one micro-batch of `batch` pictures of `size`, with prompts of 77 * `chunks` tokens.

    With `pixels` the VAE encodes them first. Gradients are accumulated in `models`, which must be on the meta device.
    """
    with torch.device("meta"):
        x_t = torch.empty(batch, LATENT_CHANNELS, *size.cells)
        token_ids = torch.empty(batch, 2, CHUNK * chunks, dtype=torch.int64)
        timesteps = torch.empty(batch, dtype=torch.int64)
        time_ids = torch.empty(batch, 6)
        if pixels:
            models.encode_pixels(torch.empty(batch, 3, size.height, size.width, dtype=torch.uint8))
        text = models.encode_text(token_ids)
        models.predict(x_t, timesteps, text, time_ids).square().mean().backward()
