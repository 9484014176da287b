"""One part of a shard root: pictures are decoded, resized, cropped and encoded into one MDS file.

`write_part` runs in a worker process and knows nothing of other parts. Equal inputs give equal bytes: a part is
encoded in one thread, in one order, in batches that are cut inside the part.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from animetune import resizing
from animetune.buckets import Geometry, Region, fit, stored_region
from animetune.errors import PictureError
from animetune.manifest import Manifest
from animetune.mds import write_shard
from animetune.pictures import Picture, cut_mask, decode_mask, open_picture, read_image
from animetune.records import LATENT_CHANNELS, Size
from animetune.shards.config import CropConfig, LatentStore, PixelStore
from animetune.shardset import GEOMETRY_COLUMNS, MASK_COLUMN

if TYPE_CHECKING:
    import polars as pl
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

PART_FORMAT = 2

Resize = Callable[[Image.Image, tuple[int, int]], Image.Image]
"""Brings a picture to (width, height)."""

QUARANTINE_CODES = {
    "size_changed": "the decoded picture has another size than curation saw",
    "nonfinite_latent": "the VAE gave NaN or infinity, or a number beyond the range of the stored type, as mean or std",
    "bad_mask": "the picture's mask cannot be read or decoded; the detail begins with its code of PICTURE_CODES",
    "mask_ratio": "the sides of the mask are not in the ratio of the picture's, so it is unknown what it covers",
}
"""Code -> meaning, for what this stage refuses beyond `pictures.PICTURE_CODES`."""


PART_COLUMNS = ("key", "image", "mask", "width", "height", "focus_x", "focus_y")
"""What a part needs to know of a row of the table."""


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one part, in order, and the size that they are cropped to."""

    size: Size
    rows: pl.DataFrame
    """PART_COLUMNS. A slice of the stage's frame: it costs 6 bytes a row, and is pickled alone."""


@dataclass(slots=True)
class _Crop:
    """A picture ready to be encoded: what `region` of the resized picture holds."""

    key: str
    geometry: Geometry
    region: Region
    image: Image.Image
    mask: Image.Image | None
    """Levels, mode L, in the pixels of `image`."""


def write_part(
    part: Part,
    folder: Path,
    *,
    store: PixelStore | LatentStore,
    crop: CropConfig,
    resize: Resize,
    masks: bool,
    background: tuple[int, int, int],
    max_pixels: int,
    first_frame: bool,
) -> Manifest:
    """Write `folder/shard.00000.mds` and its index; the manifest's facts name the keys kept and refused, in order.

    `resize` is called for pictures of mode RGB, not for masks. With `masks` there is a column of these
    (`shardset.MASK_COLUMN`), also where no picture of the part has one.
    `background`, `max_pixels` and `first_frame` are those of `pictures.decode` and must be curation's, so that both see
    one picture.
    A picture that cannot be decoded or encoded is quarantined. Failures that may pass (network, memory) are raised.
    """
    quarantined: list[tuple[str, str, str]] = []
    look = functools.partial(open_picture, background=background, max_pixels=max_pixels, first_frame=first_frame)
    crops = _crops(part, crop, quarantined, look=look, resize=resize, max_pixels=max_pixels)
    encoder = _Latents(store, quarantined) if isinstance(store, LatentStore) else _Pixels(store)
    keys: list[str] = []

    def samples() -> Iterator[dict[str, Any]]:
        for each, encoded in encoder.encode(crops):
            keys.append(each.key)
            mask = {MASK_COLUMN: _encode_mask(each.mask, store)} if masks else {}
            yield {"key": each.key, **_geometry_columns(each), **mask, **encoded}

    columns = {"key": "str", **dict.fromkeys(GEOMETRY_COLUMNS, "ndarray:int32:2"), **encoder.columns}
    columns |= {MASK_COLUMN: "bytes"} if masks else {}
    write_shard(folder, columns, samples())
    quarantined.sort()
    codes = sorted({code for _, code, _ in quarantined})
    return Manifest(
        kind="chunk",
        format_version=PART_FORMAT,
        seen=part.rows.height,
        kept=len(keys),
        quarantined={code: sum(each == code for _, each, _ in quarantined) for code in codes},
        facts={"keys": keys, "quarantined": [list(each) for each in quarantined], **encoder.facts()},
    )


def resize_and_crop(
    image: Image.Image, geometry: Geometry, *, margin: float = 0.0, resize: Resize = resizing.resize
) -> Image.Image:
    """One resize, then the crop with its margin (`stored_region`)."""
    if image.size != geometry.resized:
        image = resize(image, geometry.resized)
    left, top, (width, height) = stored_region(geometry, margin)
    box = (left, top, left + width, top + height)
    return image if box == (0, 0, *image.size) else image.crop(box)


def device_of(store: LatentStore) -> torch.device:
    """The kind of device that the VAE runs on. Raises SetupError, naming the setting, where there is none."""
    from animetune.models.device import pick_device

    return pick_device(store.device, setting="store.device")


def bytes_per_sample(size: Size, store: PixelStore | LatentStore, *, margin: float = 0.0) -> int:
    """Bytes of a sample of this size: exact for latents, a generous average of anime pictures for pixels."""
    if isinstance(store, LatentStore):
        return (1 + store.flip) * (1 + store.std) * LATENT_CHANNELS * math.prod(size.cells) * 2
    per_pixel = {"jpeg": 0.45, "webp": 1.2 if store.lossless else 0.3, "png": 1.5}
    return int(size.area * (1 + margin) * per_pixel[store.format])


def _crops(
    part: Part,
    cfg: CropConfig,
    quarantined: list[tuple[str, str, str]],
    *,
    look: Callable[[str], Picture],
    resize: Resize,
    max_pixels: int,
) -> Iterator[_Crop]:
    for key, url, mask_url, width, height, x, y in part.rows.select(PART_COLUMNS).iter_rows():
        source = Size(width, height)
        try:
            picture = look(url)
            image = picture.image
            if image.size != source:
                raise PictureError("size_changed", f"{source.name} when curated, {Size(*image.size).name} now")
            mask = None if mask_url is None else _read_mask(mask_url, picture, max_pixels=max_pixels)
        except PictureError as error:
            quarantined.append((key, error.code, error.detail))
            continue
        geometry = fit(source, part.size, focus=(x, y) if cfg.at == "focus" else (None, None))
        stored = resize_and_crop(image, geometry, margin=cfg.margin, resize=resize)
        if mask is not None:
            mask = resize_and_crop(mask, geometry, margin=cfg.margin, resize=_mean)
        yield _Crop(key, geometry, stored_region(geometry, cfg.margin), stored, mask)


def _read_mask(url: str, picture: Picture, *, max_pixels: int) -> Image.Image:
    """The mask of a picture, larger or smaller in the same ratio; of a region the same region. Raises PictureError."""
    source = Size(*(picture.whole or picture.image.size))
    try:
        mask = decode_mask(read_image(url), max_pixels=max_pixels)
    except PictureError as error:
        raise PictureError("bad_mask", f"{error} ({url})") from error
    # Whether some scale brings both sides of `source` to less than a pixel from the mask's, as rounding leaves them.
    if abs(mask.width * source.height - mask.height * source.width) >= source.width + source.height:
        raise PictureError("mask_ratio", f"{Size(*mask.size).name} for a picture of {source.name} ({url})")
    return cut_mask(mask, picture)


def _mean(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """By the mean of the pixels that become one: Lanczos would ring at edges."""
    return mask.resize(size, Image.Resampling.BOX)


def _encode_mask(mask: Image.Image | None, store: PixelStore | LatentStore) -> bytes:
    """Empty for none. Of pixels a grey PNG, since a random crop may begin at any; of latents a byte for each cell."""
    if mask is None:
        return b""
    if isinstance(store, LatentStore):
        return mask.reduce(8).tobytes()
    stream = io.BytesIO()
    mask.save(stream, format="PNG", compress_level=4)
    return stream.getvalue()


class _Pixels:
    """Encodes crops as picture files."""

    columns = {"image": "bytes"}  # noqa: RUF012 (a constant)

    def __init__(self, store: PixelStore):
        # More effort takes two to eight times as long and saves 1 % (png, webp) to 9 % (lossless webp) of the bytes.
        webp = {"quality": 0, "method": 0} if store.lossless else {"quality": store.quality, "method": 2}
        options: dict[str, dict[str, Any]] = {
            "jpeg": {"format": "JPEG", "quality": store.quality, "subsampling": 0},
            "webp": {"format": "WEBP", "lossless": store.lossless, **webp},
            "png": {"format": "PNG", "compress_level": 4},
        }
        self._options = options[store.format]

    def encode(self, crops: Iterator[_Crop]) -> Iterator[tuple[_Crop, dict[str, bytes]]]:
        for crop in crops:
            stream = io.BytesIO()
            crop.image.save(stream, **self._options)
            yield crop, {"image": stream.getvalue()}

    def facts(self) -> dict[str, Any]:
        return {}


class _Latents:
    """Encodes crops as posteriors of the VAE, unscaled, and sums up their means for the root's statistics."""

    def __init__(self, store: LatentStore, quarantined: list[tuple[str, str, str]]):
        import torch

        self.store = store
        names = [f"latent{flip}{std}" for flip in ("", "_flip") for std in ("", "_std")]
        self.columns = {
            name: "bytes" for name in names if (store.flip or "_flip" not in name) and (store.std or "_std" not in name)
        }
        is_cuda = device_of(store).type == "cuda"
        self._device = f"cuda:{_worker_number() % torch.cuda.device_count()}" if is_cuda else "cpu"
        self._quarantined = quarantined
        self._count = 0
        self._sums = np.zeros((2, 4))

    def encode(self, crops: Iterator[_Crop]) -> Iterator[tuple[_Crop, dict[str, bytes]]]:
        batch: list[_Crop] = []
        for crop in crops:
            batch.append(crop)
            if len(batch) == self.store.batch:
                yield from self._encode_batch(batch)
                batch = []
        if batch:
            yield from self._encode_batch(batch)

    def _encode_batch(self, batch: list[_Crop]) -> Iterator[tuple[_Crop, dict[str, bytes]]]:
        import torch

        channels_last = torch.from_numpy(np.stack([np.asarray(crop.image) for crop in batch]))
        pixels = channels_last.permute(0, 3, 1, 2).contiguous()
        columns = self._posteriors(pixels)
        if self.store.flip:
            columns += self._posteriors(pixels.flip(-1))
        for crop, *latents in zip(batch, *columns, strict=True):
            if all(bool(latent.isfinite().all()) for latent in latents):
                values = latents[0].double().numpy()
                self._count += values[0].size
                self._sums += values.sum(axis=(1, 2)), np.square(values).sum(axis=(1, 2))
                yield crop, {name: _bytes(each) for name, each in zip(self.columns, latents, strict=True)}
            else:
                self._quarantined.append((crop.key, "nonfinite_latent", f"stored as {self.store.dtype}"))

    def _posteriors(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The means, and the standard deviations if they are kept, on the CPU in the stored type."""
        import torch

        from animetune.models.vae import encode_posterior

        vae, _ = self._vae()
        with _deterministic():
            posterior = encode_posterior(vae, pixels.to(self._device))
        kept = posterior if self.store.std else posterior[:1]
        return [each.to(getattr(torch, self.store.dtype)).cpu() for each in kept]

    def _vae(self) -> tuple[AutoencoderKL, str]:
        return _load_vae(self.store.vae, self._device, self.store.compute)

    def facts(self) -> dict[str, Any]:
        vae, digest = self._vae()
        return {
            "latents": {
                "vae": digest,
                "scaling_factor": float(vae.config["scaling_factor"]),
                "values_per_channel": self._count,
                "sums": self._sums[0].tolist(),
                "sums_of_squares": self._sums[1].tolist(),
            }
        }


@functools.lru_cache(maxsize=1)
def _load_vae(path: str, device: str, dtype: str) -> tuple[AutoencoderKL, str]:
    """The VAE in `dtype` and the digest of its float32 weights; once per worker process."""
    import torch

    from animetune.models.load import load_vae
    from animetune.models.vae import vae_digest

    vae: Any = load_vae(path)
    digest = vae_digest(vae)
    # Not by the VAE's own `to`, in which diffusers warns of layers that no SDXL network has.
    return torch.nn.Module.to(vae, device=device, dtype=getattr(torch, dtype)), digest


def _worker_number() -> int:
    """Tells spawned workers apart, so that they share the GPUs of the machine evenly."""
    number = multiprocessing.current_process().name.rpartition("-")[2]
    return int(number) if number.isdigit() else 0


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """One thread on the CPU, full float32 and fixed algorithms on the GPU: equal bytes for any number of workers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)


def _bytes(latent: torch.Tensor) -> bytes:
    import torch

    return latent.contiguous().view(torch.int16).numpy().tobytes()  # NumPy has no bfloat16


def _geometry_columns(crop: _Crop) -> dict[str, np.ndarray]:
    geometry = crop.geometry
    pairs = {
        "source": (geometry.source.height, geometry.source.width),
        "resized": (geometry.resized.height, geometry.resized.width),
        "crop": (geometry.top, geometry.left),
        "origin": (crop.region.top, crop.region.left),
        "target": (geometry.target.height, geometry.target.width),
    }
    return {name: np.array(pairs[name], np.int32) for name in GEOMETRY_COLUMNS}
