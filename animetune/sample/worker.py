"""What a worker of the `sample` stage does: draw a part of the pictures with the model that it holds."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from animetune import samples
from animetune.diffusion.config import DiffusionConfig
from animetune.diffusion.draw import draw
from animetune.errors import ConfigError
from animetune.manifest import Manifest
from animetune.models.config import ModelConfig
from animetune.models.device import pick_device
from animetune.models.load import Sdxl, load_models
from animetune.sample.drawing import Drawing
from animetune.samples import Entry
from animetune.workers import NUMBER, THREADS

PART_KIND = "drawn-part"
PART_FORMAT = 1


class Piece(NamedTuple):
    """A picture of a part."""

    key: str
    drawing: Drawing
    entry: Entry


class Part(NamedTuple):
    """What a worker is given: pictures of one model and one sampler, at most a batch."""

    pieces: tuple[Piece, ...]
    device: Literal["auto", "cpu", "cuda"]


def draw_part(part: Part, folder: Path) -> Manifest:
    """Draw the pictures of a part into `folder`, as `<key>.png`."""
    first = part.pieces[0].drawing
    device = _device(part.device)
    models = _models(first.model, device)
    if models.vae is None:
        raise ConfigError("model.vae: drawing needs a VAE, and this base has none; name one")
    pictures = draw(
        models,
        [piece.drawing.request for piece in part.pieces],
        diffusion=DiffusionConfig(**models.parameterization._asdict()),
        sampler=first.sampler,
        text=first.text,
        upscale=first.upscale,
        device=device,
        batch_size=len(part.pieces),
    )
    for place, pixels in pictures:
        samples.save_png(folder / f"{part.pieces[place].key}.png", pixels, part.pieces[place].entry)
    return Manifest(kind=PART_KIND, format_version=PART_FORMAT, seen=len(part.pieces), kept=len(part.pieces))


def _device(name: str) -> torch.device:
    """The GPU of this worker: workers take turns at those that there are. On the CPU they share its cores."""
    device = pick_device(name)
    if device.type == "cpu" and NUMBER in os.environ:
        torch.set_num_threads(int(os.environ[THREADS]))
    if device.type == "cuda" and NUMBER in os.environ and torch.cuda.device_count() > 1:
        device = torch.device("cuda", int(os.environ[NUMBER]) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    return device


_loaded: dict[tuple[ModelConfig, torch.device], Sdxl] = {}
"""The model that this process drew with last, and its device."""


def _models(cfg: ModelConfig, device: torch.device) -> Sdxl:
    if (cfg, device) not in _loaded:
        forget()  # first: two models of SDXL's size seldom fit
        _loaded[cfg, device] = load_models(cfg).eval().to(device)
    return _loaded[cfg, device]


def forget() -> None:
    """Give the model's memory back."""
    if _loaded:
        _loaded.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
