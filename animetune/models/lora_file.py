"""Reading a LoRA: which layers of a model it changes, and by what. Nothing in a file is skipped: what is not understood
is named and refused.

    LoRA     dW = up @ down * alpha / rank                            linear layers, 1x1 convolutions
    LoCon    dW[o, i, y, x] = sum_r up[o, r] down[r, i, y, x] * ...   convolutions
             dW[o, i, y, x] = sum_pq up[o, p] mid[p, q, y, x] down[q, i] * ...   in Tucker form

Without `alpha` it is the rank, as in diffusers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animetune.errors import DataError
from animetune.models.lazy import LazyTensor, at
from animetune.models.lora import Layer, Role, layer_names, lora_layers, split_key, unsupported_kind
from animetune.models.networks import SHOWN
from animetune.models.sdxl import Architecture, Component
from animetune.progress import first_of
from animetune.tensorfile import Outline, read_outline

PEFT_METADATA = "lora_adapter_metadata"
"""Where diffusers writes PEFT's settings, such as `unet.lora_alpha`."""
_BASE_KEYS = ("ss_base_model_version", "modelspec.architecture")


@dataclass(frozen=True)
class Factors:
    """What a LoRA adds to one layer, in factors."""

    layer: Layer
    down: LazyTensor
    up: LazyTensor
    mid: LazyTensor | None
    scale: float
    """alpha / rank."""

    @property
    def rank(self) -> int:
        """Directions that the layer is changed in."""
        return self.down.shape[0]

    def difference(self) -> Tensor:
        """float32, of the layer's shape: what is added at strength 1."""
        down, up = self.down.load().float(), self.up.load().float()
        if self.mid is None:
            product = up.flatten(1) @ down.flatten(1)
        else:
            product = torch.einsum("op,pqyx,qi->oiyx", up.flatten(1), self.mid.load().float(), down.flatten(1))
        return product.reshape(self.layer.shape) * self.scale


@dataclass(frozen=True)
class Lora:
    """A LoRA that fits a model."""

    path: Path
    factors: Mapping[tuple[Component, str], Factors]
    """Network and our name of a weight -> what is added to it."""
    licence: str | None = None
    """As its metadata state it."""


def open_lora(path: Path, architecture: Architecture) -> Lora:
    """A LoRA for a model of this architecture; the numbers are read when they are asked for.

    Raises DataError naming the keys that are of no layer of the model, of another shape or incomplete, and what is no
    LoRA but DoRA, LoHa, LoKr, OFT and the like.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such LoRA; name a safetensors file")
    outline = read_outline(path)
    found, unknown = _by_layer(outline, architecture)
    if unknown:
        raise DataError(_no_lora_of_this(path, unknown, outline.metadata))
    if not found:
        raise DataError(f"{path}: holds no tensors of a LoRA")
    settings = _peft_settings(path, outline.metadata)
    factors = {}
    problems = []
    for layer, roles in found.items():
        problem = _problem(layer, roles)
        if problem:
            problems.append(problem)
        else:
            factors[layer.component, layer.tensor] = _factors(layer, roles, settings)
    if problems:
        raise DataError(
            f"{path}: does not fit the model in {len(problems)} of {len(found)} layers{_made_for(outline.metadata)}: "
            + "; ".join(sorted(problems)[:SHOWN])
        )
    return Lora(path, factors, outline.metadata.get("modelspec.license"))


def _by_layer(outline: Outline, architecture: Architecture) -> tuple[dict[Layer, dict[Role, LazyTensor]], list[str]]:
    """Layer -> its tensors by role, and the keys that belong to none."""
    layers = {name: layer for layer in lora_layers(architecture) for name in layer_names(layer)}
    found: dict[Layer, dict[Role, LazyTensor]] = {}
    unknown = []
    for key, place in outline.tensors.items():
        name, role = split_key(key) or (None, None)
        layer = layers.get(name) if name else None
        if layer is None or role is None or role in found.get(layer, {}):
            unknown.append(key)
        else:
            found.setdefault(layer, {})[role] = at(place)
    return found, unknown


def _problem(layer: Layer, roles: Mapping[Role, LazyTensor]) -> str | None:
    """Why a layer's tensors cannot be used; None if they can."""
    absent = [role for role in ("down", "up") if role not in roles]
    if absent:
        return f"{layer.kohya} has no {' and no '.join(absent)}"
    down, up = roles["down"].shape, roles["up"].shape
    mid = roles["mid"].shape if "mid" in roles else None
    rank = down[0] if down else 0
    out, inputs = layer.shape[0], layer.shape[1:]
    fits = len(down) >= 2 and len(up) >= 2 and rank > 0
    if fits and mid is None:
        fits = torch.Size(up).numel() == out * rank and up[:2] == (out, rank) and _flat(down[1:]) == _flat(inputs)
        fits = fits and (len(down) == 2 or down[1:] == inputs or len(layer.shape) == 2)
    elif fits and mid is not None:
        kernel = layer.shape[2:]
        fits = up[:2] == (out, mid[0]) and mid[1:2] == (rank,) and mid[2:] == kernel and down[1:2] == inputs[:1]
        fits = fits and _flat(up[2:]) == _flat(down[2:]) == 1
    if not fits:
        shapes = ", ".join(f"{role} {list(tensor.shape)}" for role, tensor in roles.items() if role != "alpha")
        return f"{layer.kohya} is {list(layer.shape)} in the model, the LoRA has {shapes}"
    if "alpha" in roles and _flat(roles["alpha"].shape) != 1:
        return f"{layer.kohya}.alpha is no single number"
    return None


def _factors(layer: Layer, roles: Mapping[Role, LazyTensor], settings: Mapping[str, Any]) -> Factors:
    rank = roles["down"].shape[0]
    alpha = roles["alpha"].load().item() if "alpha" in roles else _peft_alpha(layer, settings, otherwise=rank)
    return Factors(layer, roles["down"], roles["up"], roles.get("mid"), scale=alpha / rank)


def _peft_settings(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        settings = json.loads(metadata.get(PEFT_METADATA, "{}"))
    except ValueError as error:
        raise DataError(f"{path}: its metadata {PEFT_METADATA} cannot be read: {error}") from error
    for key, value in settings.items():
        if key.endswith((".use_dora", ".use_rslora")) and value:
            kind = "DoRA" if key.endswith("dora") else "a rank-stabilized LoRA"
            raise DataError(f"{path}: is {kind} by its metadata ({key}), which is not supported; take a plain LoRA")
    return dict(settings)


def _peft_alpha(layer: Layer, settings: Mapping[str, Any], *, otherwise: int) -> float:
    """PEFT's `lora_alpha` of the network, or that of the longest name in `alpha_pattern` that the layer's ends with."""
    patterns = settings.get(f"{layer.component}.alpha_pattern") or {}
    fitting = [name for name in patterns if fnmatchcase(f".{layer.module}", f"*.{name.lstrip('^').rstrip('$')}")]
    if fitting:
        return float(patterns[max(fitting, key=len)])
    return float(settings.get(f"{layer.component}.lora_alpha") or otherwise)


def _no_lora_of_this(path: Path, unknown: list[str], metadata: Mapping[str, str]) -> str:
    kinds = sorted({kind for kind in map(unsupported_kind, unknown) if kind})
    if kinds:
        return (
            f"{path}: holds {', '.join(kinds)}, which is not supported ({first_of(sorted(unknown), SHOWN)}); take a "
            "plain LoRA or LoCon, or merge it where it was trained"
        )
    return (
        f"{path}: is no LoRA for this model{_made_for(metadata, unknown)}: {len(unknown):,} of its keys are of no "
        f"layer: {first_of(sorted(unknown), SHOWN)}"
    )


def _made_for(metadata: Mapping[str, str], unknown: Iterable[str] = ()) -> str:
    """` (made for sd_v1)`, by the metadata or the keys; empty if nothing is known."""
    said = next((metadata[key] for key in _BASE_KEYS if key in metadata), None)
    if said is None and any(key.startswith(("lora_te_", "lora_unet_down_blocks_0_attentions_")) for key in unknown):
        said = "Stable Diffusion 1 or 2, by its keys"
    return f" (made for {said})" if said else ""


def _flat(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()
