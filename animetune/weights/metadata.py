"""What the single file says of itself: ModelSpec 1.0.1, and what animetune needs to read it again."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError

from animetune import fsio
from animetune.errors import ConfigError
from animetune.models.file_source import ARCHITECTURE_KEY, FACTS_PREFIX, FLOW_KEY
from animetune.models.sdxl import Parameterization, is_sdxl
from animetune.models.source import TIMESTEPS_FACT, Source
from animetune.records import PIXELS_PER_CELL
from animetune.version import VERSION
from animetune.weights.config import AboutConfig

SDXL_ARCHITECTURE = "stable-diffusion-xl-v1-base"
LARGEST_THUMBNAIL = 256 * 1024
"""Bytes; every reader of the file's header loads it."""
_MEDIA = {"PNG": "image/png", "WEBP": "image/webp", "JPEG": "image/jpeg"}
_PENULTIMATE = "2"
"""The layer of the text encoders that SDXL takes, counted from the end."""

_log = logging.getLogger(__name__)


def model_spec(about: AboutConfig, source: Source, *, dtype: torch.dtype, vae_dtype: torch.dtype) -> dict[str, str]:
    """ModelSpec 1.0.1 (github.com/Stability-AI/ModelSpec) without the hash, which is known once all is written.

    Raises ConfigError for a thumbnail that cannot be used.
    """
    parameterization = source.parameterization
    is_flow = parameterization.prediction == "flow"
    metadata = described(about, source, trained=source.facts) | stated(
        encoder_layer=_PENULTIMATE,
        predict_key="" if is_flow else parameterization.prediction,  # the name in ComfyUI's own files
        unet_dtype=_short(dtype),
        vae_dtype=_short(vae_dtype),
    )
    if is_flow:
        metadata |= stated(usage_hint=f"{about.usage_hint} {flow_hint(parameterization)}".strip())
        flow = {"shift": parameterization.shift, "shift_by_area": parameterization.shift_by_area}
        metadata[FLOW_KEY] = fsio.canonical_json(flow)
    if not is_sdxl(source.architecture):
        metadata[ARCHITECTURE_KEY] = fsio.canonical_json(asdict(source.architecture))
    return metadata


def described(
    about: AboutConfig, source: Source, *, trained: Mapping[str, str], architecture: str = SDXL_ARCHITECTURE
) -> dict[str, str]:
    """What a model, and a LoRA for one, say alike; `trained` is what is known of the training that made it.

    Raises ConfigError for a thumbnail that cannot be used.
    """
    side = PIXELS_PER_CELL * source.architecture.unet["sample_size"]
    spec = stated(
        sai_model_spec="1.0.1",
        architecture=architecture,
        implementation="https://github.com/Stability-AI/generative-models",
        implementation_version=f"animetune/{VERSION}",
        title=about.title,
        resolution=f"{side}x{side}",
        license=about.license,
        author=about.author,
        description=about.description,
        date=about.date,
        usage_hint=about.usage_hint,
        trigger_phrase=about.trigger_phrase,
        tags=", ".join(about.tags),
        merged_from=", ".join(about.merged_from),
        timestep_range=about.timestep_range or trained.get(TIMESTEPS_FACT, ""),
        prediction_type=source.parameterization.prediction,
        thumbnail="" if about.thumbnail is None else _data_url(about.thumbnail),
    )
    return spec | {f"{FACTS_PREFIX}{name}": value for name, value in trained.items()} | {"format": "pt"}


def stated(**spec: str) -> dict[str, str]:
    """Entries of ModelSpec under their full names; empty ones are left out."""
    return {f"modelspec.{key}": value for key, value in spec.items() if value}


def flow_hint(parameterization: Parameterization) -> str:
    """What a user of a flow's single file has to know."""
    return (
        "A rectified flow, which user interfaces take for epsilon prediction and draw as noise unless they are told: "
        f"in ComfyUI put the node ModelSamplingSD3 with shift {parameterization.shift:g} before the sampler."
    )


def _data_url(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"about.thumbnail: {path}: there is no such file")
    data = path.read_bytes()
    if len(data) > LARGEST_THUMBNAIL:
        raise ConfigError(
            f"about.thumbnail: {path}: has {len(data):,} bytes, at most {LARGEST_THUMBNAIL:,} are put into a file; "
            "make it smaller, 512 pixels as WebP will do"
        )
    try:
        with Image.open(path) as image:
            image.load()
            media, texts = _MEDIA.get(image.format or ""), getattr(image, "text", {})
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ConfigError(f"about.thumbnail: {path}: cannot be read as a picture ({error})") from error
    if media is None:
        raise ConfigError(f"about.thumbnail: {path}: is no PNG, WebP or JPEG")
    if texts:
        _log.warning(
            "about.thumbnail: %s: holds text (%s) that everyone can read who has the file; save it anew without, if "
            "that is not wanted",
            path,
            ", ".join(sorted(texts)),
        )
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
