"""The single file as a `Source`: LDM names (`keys`), SDXL's configurations, or those in its metadata."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from animetune.errors import DataError
from animetune.models import keys, recognize
from animetune.models.lazy import LazyTensor, State, at, mixed_types
from animetune.models.networks import canonical_name, network_links
from animetune.models.sdxl import (
    COMPONENTS,
    EPSILON,
    LOGIT_SCALE,
    Architecture,
    Component,
    Parameterization,
    sdxl_configs,
)
from animetune.models.source import Source
from animetune.tensorfile import Outline, Place, read_outline

FACTS_PREFIX = "animetune."
ARCHITECTURE_KEY = "animetune.architecture"
"""Metadata of a single file whose networks are not SDXL's: their configurations, as JSON."""
FLOW_KEY = "animetune.flow"
"""Metadata of a single file that predicts a flow, as `modelspec.prediction_type` says: its shift, as JSON."""
LICENCE_KEY = "modelspec.license"

_log = logging.getLogger(__name__)

PICKLED = (".ckpt", ".pt", ".pth", ".bin")


def open_single_file(path: Path, name: str) -> Source:
    """All of SDXL in one file; DataError says what the file is when it is something else."""
    outline = open_outline(path)
    found = outline.tensors
    architecture = _embedded_architecture(outline.metadata, name)
    _check_kind(found, name)
    logit_scale = LOGIT_SCALE
    if keys.LOGIT_SCALE_KEY in found:
        logit_scale = found[keys.LOGIT_SCALE_KEY].read().item()
    return Source(
        name=name,
        architecture=architecture,
        stored=lambda component: one_type(
            _ldm_state(found, network_links(architecture, component), keys.PREFIXES[component]), component, name
        ),
        files=dict.fromkeys(COMPONENTS, (path,)),
        parameterization=_marked_parameterization(outline, name),
        logit_scale=logit_scale,
        facts={
            key.removeprefix(FACTS_PREFIX): value
            for key, value in outline.metadata.items()
            if key.startswith(FACTS_PREFIX) and key not in (ARCHITECTURE_KEY, FLOW_KEY)
        },
        licence=outline.metadata.get(LICENCE_KEY),
    )


def open_vae_file(path: Path, name: str) -> Source:
    """A VAE alone, under its LDM names with or without prefix or under diffusers' names, or a whole single file."""
    outline = open_outline(path)
    found = outline.tensors
    architecture = _embedded_architecture(outline.metadata, name)
    prefix = keys.PREFIXES["vae"]
    if any(key.startswith("encoder.down_blocks.") for key in found):
        return Source(name, architecture, lambda component: named_state(found, component), {"vae": (path,)})
    stored_prefix = prefix if any(key.startswith(prefix) for key in found) else ""

    def stored(component: Component) -> State:
        links = network_links(architecture, component)
        return _ldm_state(found, links, prefix, stored_prefix=stored_prefix)

    return Source(name, architecture, stored, {"vae": (path,)})


def open_outline(path: Path) -> Outline:
    """What a file of weights holds; DataError for a pickled one, and as of `read_outline`."""
    if path.suffix in PICKLED:
        raise DataError(f"{path}: pickled weights are not read, they can run code; convert the file to safetensors")
    return read_outline(path)


def named_state(found: Mapping[str, Place], component: Component) -> dict[str, LazyTensor]:
    """Tensors under the names of diffusers and transformers, under ours."""
    return {
        canonical_name(name, component): at(place) for name, place in found.items() if not name.endswith("position_ids")
    }


def one_type(state: State, component: Component, name: str) -> State:
    """`state`, with a warning if it is of several types: all are read as they are, whatever becomes of them."""
    mixture = mixed_types(state)
    if mixture:
        _warn_once(f"{name}: its {component} is of several types ({mixture} tensors); each is read as it is")
    return state


@functools.cache
def _warn_once(text: str) -> None:
    _log.warning("%s", text)


def _ldm_state(
    found: Mapping[str, Place], links: list[keys.Link], prefix: str, *, stored_prefix: str | None = None
) -> State:
    stored = prefix if stored_prefix is None else stored_prefix
    by_ldm = {stored + link.ldm.removeprefix(prefix): link for link in links}
    state: dict[str, LazyTensor] = {}
    for name in sorted(found):
        if not name.startswith(stored) or _is_ignored(name):
            continue
        if name in by_ldm:
            state |= _unlinked(by_ldm[name], found[name])
        else:
            # diffusers' own conversion script writes the linear layer's matrix, under the layer's name.
            bare = name.removeprefix(keys.PREFIXES["text_encoder_2"]) if name == _LINEAR_PROJECTION else name
            state[bare] = at(found[name])
    return state


_LINEAR_PROJECTION = keys.PREFIXES["text_encoder_2"] + "text_projection.weight"


def _unlinked(link: keys.Link, place: Place) -> dict[str, LazyTensor]:
    """Ours of one tensor of the file. Of three in one, each is read alone: they lie one behind another."""
    if link.form == "fused" and place.shape and place.shape[0] % len(link.names) == 0:
        return {name: at(part) for name, part in zip(link.names, place.split(len(link.names)), strict=True)}
    if link.form == "fused":
        return {link.ldm: at(place)}  # of another shape: the check of the network names it

    def load() -> Tensor:
        (tensor,) = link.from_ldm(place.read())
        return tensor

    return {link.names[0]: LazyTensor(link.our_shape(place.shape), place.dtype, load)}


def _is_ignored(name: str) -> bool:
    """Whether a tensor is left over from training or counting, and no weight."""
    return name.endswith(("position_ids", ".logit_scale")) or name.startswith(
        ("first_stage_model.loss.", "first_stage_model.model_ema.", "loss.", "model_ema.")
    )


def _check_kind(found: Mapping[str, Place], name: str) -> None:
    shapes = {key: place.shape for key, place in found.items()}
    foreign = recognize.foreign_model(shapes)
    if foreign:
        raise DataError(f"{name}: is {foreign.what}, where SDXL is needed; {foreign.remedy}")
    absent = [
        keys.PREFIXES[component]
        for component in COMPONENTS
        if component != "vae" and not any(key.startswith(keys.PREFIXES[component]) for key in found)
    ]
    if absent:
        raise DataError(
            f"{name}: is no SDXL checkpoint: it has no tensors named " + ", ".join(f"{prefix}*" for prefix in absent)
        )


def _marked_parameterization(outline: Outline, name: str) -> Parameterization:
    said = outline.metadata.get("modelspec.prediction_type")
    if keys.V_PREDICTION_KEY in outline.tensors or said == "v":
        return Parameterization("v", keys.ZERO_TERMINAL_SNR_KEY in outline.tensors)
    if said != "flow":
        return EPSILON
    try:
        return Parameterization("flow", **json.loads(outline.metadata.get(FLOW_KEY, "{}")))
    except (json.JSONDecodeError, TypeError) as error:
        raise DataError(f"{name}: its metadata {FLOW_KEY} cannot be read: {error}") from error


def _embedded_architecture(metadata: Mapping[str, str], name: str) -> Architecture:
    if ARCHITECTURE_KEY not in metadata:
        return sdxl_configs()
    try:
        return Architecture(**json.loads(metadata[ARCHITECTURE_KEY]))
    except (json.JSONDecodeError, TypeError) as error:
        raise DataError(f"{name}: its metadata {ARCHITECTURE_KEY} cannot be read: {error}") from error
