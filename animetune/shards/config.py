"""`ShardConfig` and `LabelsConfig`: the YAML of the stages `shard` and `labels`, field for field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.buckets import SizesConfig
from animetune.config import StrictModel
from animetune.executor import ExecutorConfig
from animetune.remote import ON_THIS_MACHINE, is_remote, without_file_scheme

Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class PixelStore(StrictModel):
    """Keep pictures as encoded files; the VAE runs during training."""

    name: Literal["pixels"]
    format: Literal["jpeg", "webp", "png"] = "jpeg"
    """jpeg decodes about three times as fast as webp, which takes about half the bytes; png is lossless."""
    quality: Annotated[int, pydantic.Field(ge=1, le=100)] = 95
    """Of jpeg (without chroma subsampling, which blurs line art) and webp; what is lossless ignores it."""
    lossless: bool = False
    """webp without loss: a tenth smaller than png, and written in half to two thirds of the time. png always is."""

    @pydantic.model_validator(mode="after")
    def _lossless_where_there_is_a_choice(self) -> PixelStore:
        if self.lossless and self.format == "jpeg":
            raise ValueError("jpeg cannot be lossless; set format to webp or png, or lossless to false")
        return self


class LatentStore(StrictModel):
    """Keep the VAE's posterior, unscaled; training then needs no VAE."""

    name: Literal["latents"]
    vae: str
    """Hub id, folder or single file of a VAE or of a whole SDXL model."""
    dtype: Literal["float16", "bfloat16"] = "float16"
    """Of the stored numbers."""
    compute: Literal["float32", "bfloat16"] = "float32"
    """What the VAE computes in. bfloat16 is faster on a GPU and a little off; SDXL's own VAE overflows in float16."""
    std: bool = False
    """Also keep the posterior's standard deviation, so that training can draw from it instead of taking the mean.
    Doubles the size."""
    flip: bool = False
    """Also keep the latent of the mirrored picture, which a mirrored latent is not. Doubles the size."""
    batch: Annotated[int, pydantic.Field(ge=1)] = 1
    """Pictures that the VAE encodes at once."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the VAE runs; `auto` takes a GPU when there is one. Another device may go on with a root; its latents
    differ by rounding."""


Store = Annotated[PixelStore | LatentStore, pydantic.Field(discriminator="name")]


class CropConfig(StrictModel):
    """Which part of a picture is kept, where its ratio of sides is not that of its size."""

    at: Literal["centre", "focus"] = "centre"
    """The middle of the picture, or its focus point (`focus_x`, `focus_y` of the table) where it has one."""
    margin: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    """Share of the size's side that is stored beyond the crop, in all, on the axis that is cut and as far as there is
    picture: room for random crops in training. Only for pixels."""


class ResizeConfig(StrictModel):
    """How pictures are brought to their size; bytes differ between these, so they belong to a shard root."""

    by: Literal["auto", "torch", "pillow"] = "auto"
    """Whose Lanczos: torch's is three to seven times as fast, at most two levels off Pillow's, and costs each worker
    2 s and 330 MB to load. `auto` takes torch for latents, which need it anyhow, and for tables of 10,000 pictures and
    more."""
    large: Literal["lanczos", "mixed"] = "lanczos"
    """Of pictures over 4 megapixels: Lanczos alone, or nearest pixels to twice the size and Lanczos from there, which
    is how we read "a mixed NEAREST/LANCZOS resizing method" of Illustrious."""


class ShardConfig(StrictModel):
    """`animetune shard CONFIG`."""

    stage: Literal["shard"]
    table: Annotated[Path, ON_THIS_MACHINE]
    """Folder of a curated table."""
    out: str | Path
    """Folder of the shard root, or a URL on an object store such as s3://bucket/shards. Settings and table of a root
    never change: other ones need another place."""
    work: Annotated[Path | None, ON_THIS_MACHINE] = None
    """Folder on this machine, for a URL in `out`: shards pass through it, indexes and manifests stay in it."""
    store: Store
    """What a shard holds: pixels or latents."""
    sizes: SizesConfig
    """The sizes that pictures are cropped to."""
    crop: CropConfig = CropConfig()
    """Which part of a picture is kept."""
    resize: ResizeConfig = ResizeConfig()
    """How pictures are brought to their size."""
    max_upscale: Annotated[float, pydantic.Field(ge=1)] = 1.25
    """Pictures that would have to be enlarged by more than this factor, even for the lowest tier, are dropped as
    `too_small`."""
    shard_bytes: Annotated[int, pydantic.Field(ge=1, lt=2**31)] = 1 << 26
    """Aimed size of a shard. Each is one file, written whole: a worker holds about twice as much."""
    quarantine_limit: Share = 0.05
    """Share of the pictures that may be unusable before the stage stops."""
    executor: ExecutorConfig = ExecutorConfig()
    """Where pictures are encoded; changes nothing in the output."""

    @property
    def folder(self) -> Path:
        """Where the root's files are written on this machine."""
        return Path(without_file_scheme(self.out)) if self.work is None else self.work

    @property
    def url(self) -> str | None:
        """Where the root's files are uploaded to; None for a root on this machine."""
        return None if self.work is None else str(self.out).rstrip("/")

    @pydantic.model_validator(mode="after")
    def _work_is_for_urls(self) -> ShardConfig:
        if is_remote(str(self.out)) and self.work is None:
            raise ValueError("work: is missing: shards for a URL pass through a folder on this machine; name one")
        if self.work is not None and not is_remote(str(self.out)):
            raise ValueError(f"work: is only for a URL in out, and {self.out} is a folder; remove it")
        return self

    @pydantic.model_validator(mode="after")
    def _margins_are_of_pixels(self) -> ShardConfig:
        if self.crop.margin and self.store.name == "latents":
            raise ValueError(
                "crop.margin: a part of a latent is not the latent of that part; store pixels, or set margin to 0"
            )
        return self


class LabelFilter(StrictModel):
    """Which rows of the table keep their repeats; each list that is given must hold the row's value."""

    quality: tuple[str | None, ...] | None = None
    """Quality classes; null in the list stands for rows without one."""
    aesthetic: tuple[str | None, ...] | None = None
    """Aesthetic classes."""
    rating: tuple[str | None, ...] | None = None
    """Ratings."""
    year: tuple[str | None, ...] | None = None
    """Year classes."""
    content_bucket: tuple[str, ...] | None = None
    """Content buckets."""


class LabelsConfig(StrictModel):
    """`animetune labels CONFIG`."""

    stage: Literal["labels"]
    table: Annotated[Path, ON_THIS_MACHINE]
    """Folder of a curated table: the one that the shards were made from, or a later one."""
    shards: str | Path
    """Shard root: a folder, or a URL such as s3://bucket/shards (then with `cache`)."""
    out: Annotated[Path, ON_THIS_MACHINE]
    """Folder of the label set. Earlier ones stay in it, for trainings that read them; see docs/data.md."""
    cache: Annotated[Path | None, ON_THIS_MACHINE] = None
    """Folder on this machine for copies of a remote root's small files."""
    keep: LabelFilter = LabelFilter()
    """Rows that it does not keep get repeats 0: they stay in the shards and are never drawn."""
    tiers: Literal["divide", "all"] = "divide"
    """A picture in several tiers: its repeats are divided among them, or each has them all."""
    missing_limit: Share = 0.01
    """Share of the table's rows that may lack a sample, not counting those that the shard stage refused."""
