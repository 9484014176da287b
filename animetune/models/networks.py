"""Networks filled with weights, under names that do not depend on the libraries' versions.

Our name of a tensor is that of diffusers and of transformers 4, which checkpoints and diffusers folders hold too.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from animetune import fsio
from animetune.errors import DataError
from animetune.models import keys
from animetune.models.lazy import State
from animetune.models.sdxl import Architecture, Component, build_network

Tensors = Iterable[tuple[str, Tensor]]

SHOWN = 5
"""Tensors that an error names, of each kind."""


def load_network(architecture: Architecture, component: Component, tensors: Tensors, *, dtype: torch.dtype) -> Any:
    """One network holding `tensors` (all of them, under our names: `check_state`) in `dtype`.

    Built without memory and filled tensor by tensor, so that the peak is the network itself and one tensor.
    """
    with torch.device("meta"):
        network = build_network(architecture, component)
    expected = network.state_dict()
    # Copies: what is held elsewhere must not change with the network.
    loaded = {_fit_name(name, expected): tensor.to(dtype, copy=True) for name, tensor in tensors}
    network.load_state_dict(loaded, assign=True)
    _fill_buffers(network)
    return network


def check_state(architecture: Architecture, component: Component, state: State, *, origin: str) -> State:
    """`state` in the network's own order, if it is whole; `origin` is where it comes from, for errors.

    Raises DataError naming missing, unexpected and wrongly shaped tensors, and those that are no floating point.
    """
    if not state:
        remedy = "; name one with `vae`, in a training configuration with `model.vae`" if component == "vae" else ""
        raise DataError(f"{origin}: holds no tensor of the {component}{remedy}")
    expected = expected_shapes(architecture, component)
    both = [(name, state[name]) for name in expected if name in state]
    kinds = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": [
            f"{name} {list(found.shape)} instead of {list(expected[name])}"
            for name, found in both
            if found.shape != expected[name]
        ],
        "of numbers that are no weights": [
            f"{name} ({found.dtype})" for name, found in both if not found.dtype.is_floating_point
        ],
    }
    problems = [
        f"{kind} {len(names)}: {', '.join(sorted(names)[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for kind, names in kinds.items()
        if names
    ]
    if problems:
        raise DataError(f"{origin}: its {component} is not the expected network; tensors " + "; ".join(problems))
    return dict(both)


def expected_shapes(architecture: Architecture, component: Component) -> dict[str, tuple[int, ...]]:
    """Our names and the shapes of a network's tensors."""
    return dict(_expected(fsio.canonical_json(asdict(architecture)), component))


@functools.lru_cache(maxsize=32)
def _expected(architecture: str, component: Component) -> tuple[tuple[str, tuple[int, ...]], ...]:
    with torch.device("meta"):
        network = build_network(Architecture(**json.loads(architecture)), component)
    return tuple((name, tuple(tensor.shape)) for name, tensor in canonical_state(network, component).items())


def canonical_state(network: nn.Module, component: Component) -> dict[str, Tensor]:
    """The network's tensors under our names, whatever this version of transformers calls them."""
    return {canonical_name(name, component): tensor for name, tensor in network.state_dict().items()}


def network_links(architecture: Architecture, component: Component) -> list[keys.Link]:
    """How the tensors of one network are named and laid out in a single file."""
    names = expected_shapes(architecture, component)
    config = getattr(architecture, component)
    match component:
        case "unet":
            return keys.unet_links(names, layers_per_block=config["layers_per_block"])
        case "text_encoder":
            return keys.text_encoder_links(names)
        case "text_encoder_2":
            return keys.text_encoder_2_links(names)
        case "vae":
            return keys.vae_links(names, levels=len(config["block_out_channels"]))


def canonical_name(name: str, component: Component) -> str:
    """Our name: that of transformers 4 for CLIP-L (5 leaves out `text_model.`), and diffusers' own since 0.15."""
    if component == "text_encoder" and not name.startswith("text_model."):
        return f"text_model.{name}"
    if component == "vae":
        return _OLD_ATTENTION.sub(lambda match: f"attentions.0.{_NEW_ATTENTION[match[1]]}.", name)
    return name


_NEW_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_ATTENTION = re.compile(rf"attentions\.0\.({'|'.join(_NEW_ATTENTION)})\.")


def _fit_name(name: str, expected: dict[str, Any]) -> str:
    """The name that this version of transformers uses for our name."""
    bare = name.removeprefix("text_model.")
    return bare if bare in expected else name


def _fill_buffers(network: nn.Module) -> None:
    """Give the position ids, which no file holds, their values."""
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                assert name == "position_ids", f"{name}: no file holds this buffer"
                module.register_buffer(name, torch.arange(buffer.shape[-1])[None], persistent=False)
