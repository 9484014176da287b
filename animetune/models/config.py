"""Configuration of the networks."""

from __future__ import annotations

from typing import Literal

from animetune.config import StrictModel


class ModelConfig(StrictModel):
    """Where the networks come from and which of them train."""

    base: str
    """Weights to start from: a hub id, a diffusers folder, a single safetensors file (as ComfyUI loads it), a run
    directory (its newest verified checkpoint), `builtin:tiny`, or `random:sdxl` and `random:tiny`."""
    weights: Literal["ema", "raw"] = "ema"
    """Which weights of a run directory."""
    vae: str | None = None
    """Another VAE than the base's: a hub id, folder or file. It must be the one that encoded the latents."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that UNet and text encoders are held and computed in; the VAE is float32."""
    train_unet: bool = True
    """Train the UNet."""
    train_text_encoders: bool = True
    """Train both text encoders."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third more work for several times less memory."""
