"""The sections `text:` and `upscale:` of whatever draws pictures."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.diffusion.config import SamplerConfig, Share
from animetune.records import PIXELS_PER_CELL, Size
from animetune.tokens import Split

Emphasis = Literal["comfyui", "a1111"]


class TextConfig(StrictModel):
    """How prompts are read."""

    syntax: Literal["plain", "weighted"] = "plain"
    """`plain`: a prompt is read as it stands, as in training. `weighted`: `(tag:1.3)`, `(tag)`, `[tag]`, escaped
    brackets and BREAK, as A1111 reads them (docs/samplers.md)."""
    square_brackets: bool = True
    """Whether `[tag]` lowers a weight, as in A1111; otherwise `[` and `]` are text, as in ComfyUI."""
    emphasis: Emphasis = "comfyui"
    """What a weight does to a token's state: `comfyui` moves it from, or towards, that of the empty prompt; `a1111`
    multiplies it and restores the mean of its chunk."""
    split: Split = "anywhere"
    """Where a prompt of more than 75 tokens is cut into chunks; as the model was trained. `commas` tears no tag."""


PLAIN = TextConfig()
"""Prompts as in training."""


class UpscaleConfig(StrictModel):
    """A second pass: the drawn picture is enlarged, and drawn again in part ("hires fix")."""

    factor: Annotated[float, pydantic.Field(gt=1, le=8)] = 1.5
    """Of each side, rounded to whole latent cells of 8 pixels."""
    space: Literal["latent", "pixel"] = "latent"
    """What is enlarged: the latents, or the decoded picture, which is then encoded again."""
    method: Literal["nearest-exact", "bilinear", "bicubic", "lanczos"] = "nearest-exact"
    """How; `lanczos` in pixels only. Latents enlarged in any way are blurred or blocky until the strength is about
    0.5."""
    strength: Share = 0.55
    """How much is drawn anew: of the sampler's n steps the last floor(n * strength)."""
    sampler: SamplerConfig | None = None
    """Sampler of the second pass; null: that of the first."""

    @pydantic.model_validator(mode="after")
    def _has_pixels_for_lanczos(self) -> UpscaleConfig:
        if self.method == "lanczos" and self.space == "latent":
            raise ValueError("method: lanczos needs space: pixel; latents take nearest-exact, bilinear or bicubic")
        return self

    def size_of(self, size: Size) -> Size:
        """The size of what comes out, for a first pass of `size`."""
        rows, columns = (round(cells * self.factor) for cells in size.cells)
        return Size(columns * PIXELS_PER_CELL, rows * PIXELS_PER_CELL)
