"""Tiny models in files, and LoRAs for them, for tests of what is done with finished weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animetune import fsio
from animetune.models.sdxl import Sdxl
from animetune.models.tiny import build_tiny
from animetune.seeding import Purpose, rng_for, text_counter
from animetune.tensorfile import Entry, write_safetensors


def tiny_file(
    folder: Path,
    seed: int = 0,
    *,
    dtype: str = "float32",
    changed: Callable[[Sdxl], None] = lambda models: None,
    license: str = "openrail++",
) -> Path:
    """The single file of a tiny SDXL with random weights, after `changed` was called on it."""
    from animetune.models.source import source_of
    from animetune.weights.config import AboutConfig, WeightsTarget
    from animetune.weights.write import write_weights

    models = build_tiny(seed).requires_grad_(False)
    changed(models)
    target = WeightsTarget(formats=("single_file",), dtype=dtype, vae_dtype="float32")
    with fsio.publish_dir(folder) as temporary:
        write_weights(temporary, source_of(models), target, AboutConfig(title=folder.name, license=license))
    return folder / "model.safetensors"


def noise(name: str, *shape: int) -> Tensor:
    """Standard normal float32 numbers that depend on the name alone."""
    return torch.from_numpy(rng_for(0, Purpose.INIT, text_counter(name)).standard_normal(shape, dtype="float32"))


def write_tensors(path: Path, tensors: dict[str, Tensor], **metadata: str) -> Path:
    """A safetensors file of these."""
    entries = [Entry(name, tuple(each.shape), each.dtype, each.clone) for name, each in tensors.items()]
    with fsio.atomic_file(path) as temporary:
        write_safetensors(temporary, entries, metadata=metadata)
    return path


def lora_tensors(layers: Iterable[Any], *, rank: int = 3, alpha: float | None = 2.0) -> dict[str, Tensor]:
    """A LoRA in kohya's layout for these layers (`animetune.models.lora.Layer`)."""
    tensors = {}
    for layer in layers:
        out, *inputs = layer.shape
        ends = (1, 1) if len(layer.shape) == 4 else ()
        tensors[f"{layer.kohya}.lora_down.weight"] = 0.1 * noise(f"{layer.kohya} down", rank, *inputs)
        tensors[f"{layer.kohya}.lora_up.weight"] = 0.1 * noise(f"{layer.kohya} up", out, rank, *ends)
        if alpha is not None:
            tensors[f"{layer.kohya}.alpha"] = torch.tensor(alpha)
    return tensors
