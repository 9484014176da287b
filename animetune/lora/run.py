"""`animetune lora`: what training changed, as a LoRA, published whole or not at all.

    tuned - base  --exact_factors, layer by layer-->  up, down  -->  out/<name>.safetensors

out/
    <name>.safetensors    for ComfyUI, A1111, Forge and diffusers, in kohya's layout; alpha = rank, so strength 1 is
                          the whole of what was kept
    manifest.json         rank and share kept of every layer, SHA-256 of inputs and file

Norms, biases, embeddings and the VAE are in no LoRA. How much of the difference that is, the manifest says.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from animetune import fsio
from animetune.config import digest
from animetune.errors import DataError
from animetune.licences import check_licence
from animetune.lora.config import LoraConfig
from animetune.lora.extract import Extracted, extract, left_out
from animetune.lora.layers import chosen_layers
from animetune.lora.metadata import lora_metadata
from animetune.lora.table import held, summarize
from animetune.manifest import Manifest, check_place, read_manifest, record_files, same_output, write_manifest
from animetune.models.config import ModelConfig
from animetune.models.device import pick_device
from animetune.models.likeness import network_difference
from animetune.models.lora import LORA_COMPONENTS, Layer
from animetune.models.source import Source
from animetune.models.sources import open_source
from animetune.progress import track
from animetune.tensorfile import Entry, write_safetensors

LORA_FORMAT = 1
LORA_KIND = "lora"

_log = logging.getLogger(__name__)


def run(cfg: LoraConfig) -> Manifest:
    """Publish the difference of `cfg.tuned` and `cfg.base` at `cfg.out`; a folder that holds the very same LoRA is left
    as it is.

    Raises SetupError when `cfg.out` holds something else or a model cannot be had; ConfigError when `cfg.out` is the
    output of another stage, and for a licence that a model forbids; DataError when the models are of different
    architecture or prediction, do not differ, or hold NaN.
    """
    out = Path(cfg.out)
    check_place(out, LORA_KIND)
    with fsio.claim(out):
        tuned = open_source(ModelConfig(base=cfg.tuned, weights=cfg.weights))
        base = open_source(ModelConfig(base=cfg.base, weights=cfg.base_weights))
        _check_fit(tuned, base)
        check_licence(cfg.about.license, {each.name: each.licence for each in (tuned, base) if each.licence})
        manifest = Manifest(
            kind=LORA_KIND,
            format_version=LORA_FORMAT,
            config_digest=digest(_without_places(cfg)),
            inputs={**_inputs("tuned", tuned), **_inputs("base", base), **cfg.about.digests()},
        )
        if out.exists():
            return same_output(out, manifest)
        layers = chosen_layers(cfg, base.architecture)
        device = pick_device(cfg.device)
        with track("lora", len(layers)) as progress:
            extracted = extract(cfg, layers, tuned, base, device=device, done=progress.advance)
        if not extracted:
            raise DataError(
                f"{cfg.tuned}: is equal to {cfg.base} in all {len(layers)} layers chosen; nothing to extract"
            )
        with fsio.publish_dir(out) as folder:
            metadata = lora_metadata(cfg, base, extracted, facts=tuned.facts)
            path = folder / f"{cfg.name}.safetensors"
            write_safetensors(path, _entries(extracted), metadata=metadata, hash_key="modelspec.hash_sha256")
            facts = _facts(extracted, layers, tuned, base)
            write_manifest(folder, manifest.model_copy(update={"facts": facts, "files": record_files(folder)}))
        return read_manifest(out, kind=LORA_KIND, format_version=LORA_FORMAT)


def _check_fit(tuned: Source, base: Source) -> None:
    for component in LORA_COMPONENTS:
        difference = network_difference(tuned, base, component)
        if difference:
            raise DataError(f"{tuned.name} and {base.name} are of different architecture: {difference}")
    ours, theirs = tuned.parameterization, base.parameterization
    if ours != theirs:
        raise DataError(
            f"{tuned.name} predicts {ours.prediction}, {base.name} {theirs.prediction} (or they differ in zero "
            "terminal SNR or shift): programs that apply the LoRA to the base would draw by the wrong rule; name a "
            "base that predicts the same"
        )


def _entries(extracted: Sequence[Extracted]) -> list[Entry]:
    entries = []
    for each in extracted:
        name = each.layer.kohya
        # float32 holds every rank, bfloat16 does not
        alpha = torch.tensor(float(each.rank))
        for key, tensor in (("lora_down.weight", each.down), ("lora_up.weight", each.up), ("alpha", alpha)):
            shape = tuple(tensor.shape)
            entries.append(Entry(f"{name}.{key}", shape, tensor.dtype, functools.partial(torch.clone, tensor)))
    return entries


def _facts(extracted: Sequence[Extracted], layers: Sequence[Layer], tuned: Source, base: Source) -> dict[str, Any]:
    outside: dict[str, float] = {component: left_out(tuned, base, component, layers) for component in LORA_COMPONENTS}
    if network_difference(tuned, base, "vae") or left_out(tuned, base, "vae", ()):
        _log.warning(
            "%s has another VAE than %s, which no LoRA can hold; offer it beside the LoRA", tuned.name, base.name
        )
    return {
        "layers": {each.layer.kohya: {"rank": each.rank, "kept": round(each.kept, 6)} for each in extracted},
        "unchanged": len(layers) - len(extracted),
        "parts": summarize(extracted),
        "held": held(extracted, outside),
        "trained": dict(tuned.facts),
    }


def _without_places(cfg: LoraConfig) -> LoraConfig:
    """The configuration without places, which are no part of what is published (`inputs` says what was read)."""
    changes = {"out": "", "tuned": "", "base": "", "device": "auto", "about": cfg.about.without_places()}
    return cfg.model_copy(update=changes)


def _inputs(name: str, source: Source) -> dict[str, str]:
    """`tuned/unet` ... -> SHA-256."""
    return {f"{name}/{part}": digest for part, digest in source.digests(LORA_COMPONENTS).items()}
