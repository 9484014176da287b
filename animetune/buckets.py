"""Sizes (resolution buckets): which there are, which one a picture gets, how it is resized and cropped to it.

Everything is integer arithmetic on pixels, so that shards, conditioning and tests agree to the pixel.

    source --cover-fit--> resized --centre crop at (left, top)--> target

Micro-conditioning (SDXL paper, section 2.2) tells the model where a training picture was cut. `time_ids` gives the
true cut: of the axis that is really cropped, in pixels of the resized picture, mirrored when the picture is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import pydantic

from animetune.config import StrictModel
from animetune.records import Size

ANIMAGINE_SIZES = tuple(
    Size(*size)
    for size in (
        (1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344), (1536, 640),
        (640, 1536),
    )
)  # fmt: skip
"""The nine resolutions of the Animagine XL model cards."""

SDXL_SIZES = tuple(
    Size(*size)
    for size in (
        (512, 2048), (512, 1984), (512, 1920), (512, 1856), (576, 1792), (576, 1728), (576, 1664), (640, 1600),
        (640, 1536), (704, 1472), (704, 1408), (768, 1344), (768, 1280), (832, 1216), (832, 1152), (896, 1152),
        (896, 1088), (960, 1088), (960, 1024), (1024, 1024), (1024, 960), (1088, 960), (1088, 896), (1152, 896),
        (1152, 832), (1216, 832), (1280, 768), (1344, 768), (1344, 704), (1408, 704), (1472, 704), (1536, 640),
        (1600, 640), (1664, 576), (1728, 576), (1792, 576), (1856, 512), (1920, 512), (1984, 512), (2048, 512),
    )
)  # fmt: skip
"""The 40 sizes that SDXL was trained on (SDXL paper, appendix I); 1344x704 has no portrait twin there either."""

PRESETS: dict[str, tuple[Size, ...]] = {"animagine": ANIMAGINE_SIZES, "sdxl": SDXL_SIZES}


class SizesConfig(StrictModel):
    """Which sizes there are: a published list (`preset`), or all of nearly one area (`area` and what follows)."""

    preset: Literal["animagine", "sdxl"] | None = None
    """Nine sizes (animagine) or forty (sdxl), all of about 1024x1024 pixels."""
    area: int = pydantic.Field(default=1024 * 1024, ge=64)
    """Pixels of a generated size at most: for each side the longest other side, both ways round, and the square."""
    step: int = pydantic.Field(default=64, ge=8, multiple_of=8)
    """Sides of a generated size are multiples of this many pixels; the VAE needs multiples of 8."""
    min_side: int = pydantic.Field(default=512, ge=8)
    """Shortest side of a generated size, in pixels."""
    max_side: int = pydantic.Field(default=2048, ge=8)
    """Longest side of a generated size, in pixels."""
    max_ratio: float = pydantic.Field(default=4.0, ge=1)
    """Largest ratio of long to short side of a generated size."""

    @pydantic.model_validator(mode="after")
    def _one_way_of_choosing(self) -> SizesConfig:
        # A default that is written out, as in a resolved configuration, asks for nothing.
        defaults = {name: field.default for name, field in type(self).model_fields.items() if name != "preset"}
        generated = sorted(name for name, default in defaults.items() if getattr(self, name) != default)
        if self.preset is not None and generated:
            raise ValueError(f"preset {self.preset} has its own list; leave out preset or {', '.join(generated)}")
        if not enumerate_sizes(self):
            raise ValueError(
                f"no size has an area of at most {self.area} pixels, sides of {self.min_side} to {self.max_side} in "
                f"steps of {self.step} and a ratio of at most {self.max_ratio}; lower min_side or raise area"
            )
        return self


def enumerate_sizes(cfg: SizesConfig) -> tuple[Size, ...]:
    """The sizes, ordered by width, then height."""
    if cfg.preset is not None:
        return tuple(sorted(PRESETS[cfg.preset]))
    sides = range(-(-cfg.min_side // cfg.step) * cfg.step, cfg.max_side + 1, cfg.step)
    square = math.isqrt(cfg.area) // cfg.step * cfg.step
    sizes = {Size(square, square)} if square in sides else set()
    for side in sides:
        other = min(cfg.area // side // cfg.step * cfg.step, sides[-1])
        if other >= sides[0] and max(side, other) <= cfg.max_ratio * min(side, other):
            sizes |= {Size(side, other), Size(other, side)}
    return tuple(sorted(sizes))


def tier_name(cfg: SizesConfig) -> str:
    """The name of the sizes' area class: the side, in pixels, of the square that has their area."""
    return str(round((cfg.area if cfg.preset is None else 1024 * 1024) ** 0.5))


def assign(source: Size, sizes: Sequence[Size]) -> Size:
    """The size whose ratio of sides is nearest to the source's on a logarithmic scale; the first of equals.

    |log a - log b| is ordered as max(a/b, b/a), which needs no logarithm.
    """

    def distortion(size: Size) -> float:
        across, down = source.width * size.height, source.height * size.width
        return max(across, down) / min(across, down)

    return min(sizes, key=distortion)


class Geometry(NamedTuple):
    """How a source picture became a training picture; all in pixels."""

    source: Size
    """The decoded picture, before any resize."""
    resized: Size
    """The source scaled until it covers the target; at least one side equals the target's."""
    left: int
    """First column of the crop in the resized picture."""
    top: int
    """First row of the crop in the resized picture."""
    target: Size
    """The training picture."""


def cover_scale(source: Size, target: Size) -> float:
    """Factor by which the source is scaled to cover the target; above 1 it is enlarged."""
    return max(target.width / source.width, target.height / source.height)


def fit(source: Size, target: Size) -> Geometry:
    """Scale until the target is covered, round half up, cut the centre of the axis that is too long."""
    if target.width * source.height >= target.height * source.width:
        resized = Size(target.width, _rounded(source.height * target.width, source.width))
    else:
        resized = Size(_rounded(source.width * target.height, source.height), target.height)
    left = (resized.width - target.width) // 2
    top = (resized.height - target.height) // 2
    return Geometry(source, resized, left, top, target)


def time_ids(geometry: Geometry, *, flipped: bool = False) -> tuple[int, int, int, int, int, int]:
    """SDXL's micro-conditioning (original h, w, crop top, left, target h, w); a horizontal flip mirrors the crop."""
    source, resized, left, top, target = geometry
    if flipped:
        left = resized.width - target.width - left
    return source.height, source.width, top, left, target.height, target.width


def _rounded(numerator: int, denominator: int) -> int:
    """The quotient rounded to the nearest integer, halves up."""
    return (2 * numerator + denominator) // (2 * denominator)
