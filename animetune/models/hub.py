"""Weights of the model hub: what of a repository is downloaded, once, into the local cache."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from animetune.errors import SetupError
from animetune.models.file_source import PICKLED
from animetune.models.sdxl import Component


def download(repository: str, components: Sequence[Component]) -> Path:
    """The folder of a hub repository in the local cache, downloaded where it is not there."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", repository) or Path(repository).suffix in (*PICKLED, ".safetensors"):
        raise SetupError(f"{repository}: there is no such file or folder, and it is no hub id (owner/name)")
    if Path(repository).parent.is_dir():
        raise SetupError(f"{repository}: there is no such run, file or folder in {Path(repository).parent}")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        folder = Path(huggingface_hub.snapshot_download(repository, allow_patterns=_patterns(components)))
        if not list(folder.rglob("*.safetensors")):
            half = _patterns(components, variant=".fp16")
            folder = Path(huggingface_hub.snapshot_download(repository, allow_patterns=half))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise SetupError(
            f"{repository}: is no local file or folder and could not be had from the model hub "
            f"({type(error).__name__}). Download it where there is a network, or name a diffusers folder or a single "
            "safetensors file"
        ) from error
    return folder


def _patterns(components: Sequence[Component], *, variant: str = "") -> list[str]:
    """What to download of a repository: settings and one variant of the weights, nothing of the same in other forms."""
    places = [f"{component}/" for component in components]
    if components == ("vae",):
        places.append("")  # the repository of a VAE alone
    stems = [f"{place}{stem}{variant}" for place in places for stem in ("diffusion_pytorch_model", "model")]
    return [
        "README.md",
        "model_index.json",
        "scheduler/scheduler_config.json",
        *(f"{place}config.json" for place in places),
        *(f"{stem}.safetensors" for stem in stems),
        *(f"{stem}-0*.safetensors" for stem in stems),
        *(f"{place}*.index*.json" for place in places),
    ]
