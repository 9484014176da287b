"""From what a shard holds of a sample to what training sees: decode, crop, mirror, compose, tokenize, collate.

Every draw is keyed by (epoch, row, copy), so it does not matter which worker makes a sample, or when.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from animetune.buckets import Geometry, time_ids
from animetune.errors import DataError
from animetune.prompts import PromptConfig, compose
from animetune.records import LATENT_CHANNELS, PIXELS_PER_CELL, Batch, Classes, Sample, Size
from animetune.seeding import Purpose, rng_for
from animetune.shardset import MASK_COLUMN, LabelSet, ShardRoot
from animetune.tokens import Split, tokenize


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done to every sample, whatever its source."""

    prompts: PromptConfig
    seed: int
    chunks: int
    """Of 75 tokens."""
    split: Split = "anywhere"
    """Where prompts are cut into chunks."""
    flip: float = 0.0
    """Probability of mirroring."""
    random_crop: bool = False
    """Crop anywhere in what is stored, not where the shard's rule says."""
    sample_latents: bool = False
    """Draw latents from the VAE's posterior; otherwise its mean is taken."""


@dataclass(frozen=True, slots=True)
class SampleMaker:
    """Makes the samples of one source; equal (epoch, row, copy) give equal samples."""

    root: ShardRoot
    labels: LabelSet
    first_row: int
    """Row 0 of the source in the numbering of all sources."""
    treatment: Treatment

    def make(self, stored: dict[str, Any], *, epoch: int, row: int, copy: int) -> Sample:
        """The sample of a row, from its columns in the shard.

        Raises DataError when the sample is damaged or is not the one that is labelled.
        """
        treatment = self.treatment
        label = self.labels.label(row - self.first_row)
        if stored["key"] != label.key:
            raise DataError(
                f"row {row} is {stored['key']!r} in the shard but {label.key!r} in {self.labels.folder}; verify the "
                "shards, then make the label set again"
            )

        def rng(purpose: Purpose) -> np.random.Generator:
            return rng_for(treatment.seed, purpose, epoch, row, copy)

        flipped = bool(treatment.flip) and rng(Purpose.FLIP).random() < treatment.flip
        geometry = _geometry(stored)
        pixels = latent = mask = None
        try:
            if self.root.latents is None:
                picture = _decode(stored["image"])
                if treatment.random_crop:
                    geometry = _random_crop(geometry, stored["origin"], picture, rng(Purpose.CROP))
                pixels = _cut(picture, geometry, stored["origin"], flipped=flipped)
            else:
                latent = self._latent(stored, geometry.target, flipped, rng)
            if stored.get(MASK_COLUMN):  # empty where a picture has none
                mask = self._mask(stored, geometry, flipped)
        except (OSError, ValueError) as error:
            raise DataError(f"the data of {label.key} is damaged: {error}") from error
        prompt = compose(label, treatment.prompts, rng(Purpose.CAPTION))
        return Sample(
            row=row,
            copy=copy,
            size=geometry.target,
            prompt=prompt,
            token_ids=tokenize(prompt, chunks=treatment.chunks, split=treatment.split),
            time_ids=np.array(time_ids(geometry, flipped=flipped), np.float32),
            loss_weight=float(self.labels.loss_weights[row - self.first_row]),
            classes=Classes((label.content_bucket or "none",), label.tags_artist, label.tags_character),
            pixels=pixels,
            latent=latent,
            mask=mask,
        )

    def _mask(self, stored: dict[str, Any], geometry: Geometry, flipped: bool) -> np.ndarray:
        """float32 (1, h / 8, w / 8), 0 to 1: of pixels the mean of what was cut, cell by cell."""
        rows, columns = geometry.target.cells
        if self.root.latents is None:
            levels = _cut(_decode(stored[MASK_COLUMN], mode="L"), geometry, stored["origin"], flipped=flipped)
            cells = levels.reshape(rows, PIXELS_PER_CELL, columns, PIXELS_PER_CELL).mean(axis=(1, 3), dtype=np.float32)
        else:
            stored_cells = np.frombuffer(stored[MASK_COLUMN], np.uint8).reshape(rows, columns)
            cells = (stored_cells[:, ::-1] if flipped else stored_cells).astype(np.float32)
        return cells[None] / np.float32(255)

    def _latent(self, stored: dict[str, Any], size: Size, flipped: bool, rng: Any) -> np.ndarray:
        """(4, h / 8, w / 8): the posterior's mean, or a draw from it (Kingma and Welling, 2014)."""
        assert self.root.latents is not None
        dtype, name = self.root.latents["dtype"], "latent_flip" if flipped else "latent"
        mean = decode_latent(stored[name], size, dtype)
        if not self.treatment.sample_latents:
            return mean
        deviation = decode_latent(stored[f"{name}_std"], size, dtype)
        return mean + deviation * rng(Purpose.VAE).standard_normal(mean.shape, np.float32)


def decode_latent(data: bytes, size: Size, dtype: str) -> np.ndarray:
    """(4, h / 8, w / 8): float16 as it is stored, bfloat16, which NumPy lacks, as float32.

    Raises ValueError when there is more or less data.
    """
    if dtype == "bfloat16":  # the upper half of a float32
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        values = np.frombuffer(data, "<f2")
    return values.reshape(LATENT_CHANNELS, *size.cells)


def collate(
    samples: Sequence[Sample], *, epoch: int, step: int, first_slot: int, step_samples: int, step_batches: int
) -> Batch:
    """The micro-batch of samples that follow one another in a step of `step_samples` samples."""

    def stack(arrays: list[Any]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays))

    first = samples[0]
    masks = None
    if any(sample.mask is not None for sample in samples):
        whole = np.ones((1, *first.size.cells), np.float32)
        masks = stack([whole if sample.mask is None else sample.mask for sample in samples])
    return Batch(
        size=first.size,
        epoch=epoch,
        step=step,
        rows=torch.tensor([sample.row for sample in samples]),
        copies=torch.tensor([sample.copy for sample in samples]),
        slots=torch.arange(first_slot, first_slot + len(samples)),
        token_ids=stack([sample.token_ids for sample in samples]),
        time_ids=stack([sample.time_ids for sample in samples]),
        loss_weights=torch.tensor([sample.loss_weight for sample in samples], dtype=torch.float32),
        share=len(samples) * step_batches / step_samples,
        global_batch=step_samples,
        prompts=[sample.prompt for sample in samples],
        classes=[sample.classes for sample in samples],
        # Converted by PyTorch, all at once: NumPy takes four times as long.
        latents=None if first.latent is None else stack([sample.latent for sample in samples]).float(),
        # A view: the VAE wants channels last, and reordering a megapixel costs half as much as decoding it.
        pixels=None if first.pixels is None else stack([sample.pixels for sample in samples]).permute(0, 3, 1, 2),
        masks=masks,
    )


def _geometry(stored: dict[str, Any]) -> Geometry:
    (height, width), (resized_height, resized_width) = stored["source"].tolist(), stored["resized"].tolist()
    (top, left), (target_height, target_width) = stored["crop"].tolist(), stored["target"].tolist()
    return Geometry(
        Size(width, height), Size(resized_width, resized_height), left, top, Size(target_width, target_height)
    )


def _decode(data: bytes, *, mode: str = "RGB") -> np.ndarray:
    """uint8 (h, w, 3) for mode RGB, (h, w) for L."""
    with Image.open(io.BytesIO(data), formats=("JPEG", "WEBP", "PNG")) as image:
        if image.mode != mode:
            raise ValueError(f"a picture of mode {image.mode}, where {mode} was written")
        return np.asarray(image)


def _random_crop(geometry: Geometry, origin: np.ndarray, picture: np.ndarray, rng: np.random.Generator) -> Geometry:
    """The same with the target anywhere in the stored picture, all places equally likely."""
    (top, left), (height, width, _), target = origin.tolist(), picture.shape, geometry.target
    if height < target.height or width < target.width:
        raise ValueError(f"it is {width}x{height}, smaller than its target {target.name}")
    return geometry._replace(
        top=top + int(rng.integers(height - target.height + 1)),
        left=left + int(rng.integers(width - target.width + 1)),
    )


def _cut(picture: np.ndarray, geometry: Geometry, origin: np.ndarray, *, flipped: bool) -> np.ndarray:
    """uint8 (h, w, ...): a view of the target, in a stored picture that begins at `origin`."""
    target = geometry.target
    top, left = geometry.top - int(origin[0]), geometry.left - int(origin[1])
    pixels = picture[max(0, top) : top + target.height, max(0, left) : left + target.width]
    if pixels.shape[:2] != (target.height, target.width):
        raise ValueError(f"its shape is {picture.shape}, without room for {target.name} at ({left}, {top})")
    return pixels[:, ::-1] if flipped else pixels
