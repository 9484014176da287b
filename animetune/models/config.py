"""Configuration of the networks."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel

Weights = Annotated[str, pydantic.Field(pattern=r"^(raw|ema(-0\.\d+)?)$")]


class ModelConfig(StrictModel):
    """Where the networks come from and which of them train."""

    base: str
    """Weights to start from: a hub id, a diffusers folder, a single safetensors file (as ComfyUI loads it), a run
    directory (its newest verified checkpoint), the folder of an export or a merge, `builtin:tiny`, or `random:sdxl` and
    `random:tiny`."""
    weights: Weights = "ema"
    """Which weights of a run directory: `ema`, its first moving average (the weights, if it kept none); `ema-0.999`,
    that of this decay; `raw`, the weights themselves."""
    vae: str | None = None
    """Another VAE than the base's: a hub id, folder or file. It must be the one that encoded the latents."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that UNet and text encoders are held and computed in; the VAE is float32."""
    train_unet: bool = True
    """Train the UNet."""
    train_text_encoder: bool = True
    """Train CLIP-L."""
    train_text_encoder_2: bool = True
    """Train CLIP-G."""
    mask_padding: bool = False
    """Hide the padding of prompts from the UNet's cross-attention; the text encoders, being causal, never look at it.
    Draw with it, too: no other program does."""
    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    """What the backward pass computes again instead of keeping it. `full`: a quarter more work, a tenth of the
    activations; `selective`: a tenth more work, half of the activations."""
    compile: Literal["none", "blocks"] = "none"
    """Compile the UNet's repeated blocks (torch.compile): a few minutes at the start, less memory traffic after."""
    channels_last: bool = False
    """Keep the UNet's activations in memory as (b, h, w, c), as tensor cores want them for convolutions."""
    attention: Literal["auto", "flash", "cudnn", "efficient", "math"] = "auto"
    """Kernel of the UNet's attention; `auto` leaves the choice to PyTorch."""
    offload_frozen: bool = False
    """Keep frozen text encoders and the VAE in the CPU's memory, and copy them to the GPU for each use: saves up to
    2 GB there for 0.1 s a micro-batch."""

    @property
    def trained(self) -> tuple[Literal["unet", "text_encoder", "text_encoder_2"], ...]:
        """The networks that train."""
        parts: tuple[Literal["unet", "text_encoder", "text_encoder_2"], ...] = (
            "unet",
            "text_encoder",
            "text_encoder_2",
        )
        return tuple(part for part in parts if getattr(self, f"train_{part}"))
