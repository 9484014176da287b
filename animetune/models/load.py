"""Load SDXL: `load_models` for all of it, `load_vae` for the VAE alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from animetune.checkpoint import read_weights
from animetune.manifest import MANIFEST_NAME
from animetune.models.compute import configure
from animetune.models.config import ModelConfig
from animetune.models.networks import load_network
from animetune.models.sdxl import COMPONENTS, Component, Sdxl
from animetune.models.sources import Source, open_origin, open_source, open_vae
from animetune.models.vae import vae_digest

__all__ = ["Sdxl", "load_models", "load_vae", "prepare", "read_models", "vae_digest"]


def load_models(cfg: ModelConfig, *, resumed: Path | None = None) -> Sdxl:
    """The networks of `cfg.base` on the CPU: UNet and text encoders in `cfg.dtype`, the VAE in float32 and frozen.

    What `cfg` does not train is frozen, and so is what can get no gradient (`text.freeze_unused`). With `resumed`, a
    checkpoint that was verified, UNet and text encoders are those of it, and the base's are not read.
    Raises SetupError when the weights cannot be had, DataError when they are not SDXL's.
    """
    if resumed:
        weights = read_weights(resumed, "raw", verify=False)
        source = open_origin(cfg).with_weights(weights, resumed / MANIFEST_NAME)
    else:
        source = open_source(cfg)
    models = read_models(source, dtype=getattr(torch, cfg.dtype))
    prepare(models, cfg)
    return models


def prepare(models: Sdxl, cfg: ModelConfig) -> None:
    """Freeze what `cfg` does not train, and set how the networks see prompts and compute."""
    for component in COMPONENTS[:3]:
        if not getattr(cfg, f"train_{component}"):
            getattr(models, component).requires_grad_(False)
    models.mask_padding = cfg.mask_padding
    configure(models, cfg)


def read_models(source: Source, *, dtype: torch.dtype) -> Sdxl:
    """All networks of a source on the CPU, the VAE in float32."""
    networks = {
        component: _load(source, component, dtype=torch.float32 if component == "vae" else dtype)
        for component in COMPONENTS
    }
    return Sdxl(
        source.architecture,
        **networks,
        parameterization=source.parameterization,
        logit_scale=source.logit_scale,
    )


def load_vae(path: str, *, dtype: Literal["float32", "bfloat16"] = "float32") -> AutoencoderKL:
    """A frozen VAE on the CPU, from its own folder or file or from anything that `ModelConfig.base` may name."""
    return _load(open_vae(path), "vae", dtype=getattr(torch, dtype))


def _load(source: Source, component: Component, *, dtype: torch.dtype) -> Any:
    return load_network(source.architecture, component, source.read(component), dtype=dtype)
