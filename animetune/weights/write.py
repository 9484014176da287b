"""Finished weights from any `Source`, tensor by tensor: the single file, the diffusers folder, or both."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from animetune.errors import SetupError
from animetune.manifest import FileRecord, record_files
from animetune.models.file_source import open_single_file
from animetune.models.lazy import State
from animetune.models.sdxl import COMPONENTS, Component
from animetune.models.source import Source
from animetune.models.sources import FOLDER_NAME
from animetune.progress import bytes_text, track
from animetune.weights.config import AboutConfig, WeightsTarget
from animetune.weights.folder import count_tensors, write_folder
from animetune.weights.metadata import model_spec
from animetune.weights.single_file import single_file_entries, write_single_file
from animetune.weights.tensors import Lost

_log = logging.getLogger(__name__)


def write_weights(
    folder: Path,
    source: Source,
    target: WeightsTarget,
    about: AboutConfig,
    *,
    facts: Mapping[str, str] | None = None,
    job: str = "export",
) -> dict[str, FileRecord]:
    """Write `source` into `folder`, which fsio handed out, as `target` says; returns size and SHA-256 of every file.

    Each tensor is loaded once, cast and written before the next, so that memory holds one of them. When both forms are
    written, the diffusers folder is read off the single file. `facts` become `animetune.<name>` of its metadata, beside
    those of the source; `job` names the progress bar.

    Raises DataError naming a tensor that is missing, unexpected, of another shape, not finite, or beyond the dtype's
    range, ConfigError for a thumbnail that cannot be used, and SetupError when the disk has not the room. Warns once
    when a dtype loses small numbers.
    """
    dtype: torch.dtype = getattr(torch, target.dtype)
    vae_dtype: torch.dtype = getattr(torch, target.vae_dtype)
    # What is wrong with the last network is said before hours of work on the others.
    states = {component: source.state(component) for component in COMPONENTS}
    source = dataclasses.replace(
        source,
        stored=states.__getitem__,
        facts={**source.facts, **(facts or {})},
        licence=about.license,
        # As both forms will hold it, so that each can be made from the other.
        logit_scale=torch.tensor(source.logit_scale).to(dtype).item(),
    )
    lost = Lost()
    has_single, has_folder = ("single_file" in target.formats), ("diffusers" in target.formats)
    metadata = model_spec(about, source, dtype=dtype, vae_dtype=vae_dtype)
    entries = single_file_entries(source, dtype=dtype, vae_dtype=vae_dtype, lost=lost) if has_single else []
    total = len(entries) + has_folder * count_tensors(source.architecture)
    _check_room(folder, states, target)
    with track(job, total) as progress:
        if has_single:
            path = folder / f"{target.name}.safetensors"
            write_single_file(path, entries, metadata=metadata, done=progress.advance)
            written = open_single_file(path, source.name)
            source = dataclasses.replace(source, stored=written.stored)
        if has_folder:
            write_folder(
                folder / FOLDER_NAME,
                source,
                dtype=dtype,
                vae_dtype=vae_dtype,
                scheduler=target.scheduler,
                lost=lost,
                done=progress.advance,
            )
    if lost.warning:
        _log.warning("%s: %s", source.name, lost.warning)
    return record_files(folder)


def _check_room(folder: Path, states: Mapping[Component, State], target: WeightsTarget) -> None:
    needed = len(target.formats) * sum(
        lazy.numel * getattr(torch, target.vae_dtype if component == "vae" else target.dtype).itemsize
        for component, state in states.items()
        for lazy in state.values()
    )
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SetupError(
            f"{folder.parent}: these weights need {bytes_text(needed)}, {bytes_text(free)} are free; free some space, "
            "choose another folder, or write one of `formats` only"
        )
