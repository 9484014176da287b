"""The places that weights come from, each opened as a `Source`.

    hub id --download--> folder    diffusers' (`folder_source`)
    single file                    Stability AI's layout (`file_source`)
    export, merge                  their single file, else their diffusers folder
    run directory                  its newest verified checkpoint; architecture and VAE of the base it started from
    random:sdxl, random:tiny       made, always the same

Only safetensors are read: pickled files (.ckpt, .bin) can run code. A local file or folder never opens a socket.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pydantic
import torch

from animetune import checkpoint
from animetune.config import load_config
from animetune.errors import DataError, SetupError
from animetune.licences import licence_of_base
from animetune.manifest import MANIFEST_NAME, has_manifest, read_manifest
from animetune.models.config import ModelConfig
from animetune.models.file_source import open_single_file, open_vae_file
from animetune.models.folder_source import open_folder, open_vae_folder
from animetune.models.hub import download
from animetune.models.lazy import State, held
from animetune.models.networks import canonical_state
from animetune.models.sdxl import COMPONENTS, Architecture, Component, Parameterization, build_seeded, sdxl_configs
from animetune.models.source import TIMESTEPS_FACT, Source, source_of
from animetune.models.tiny import tiny_configs

__all__ = ["Source", "known_architecture", "open_origin", "open_source", "open_vae", "source_of"]

_BUILTIN = "builtin:tiny"
_MADE = {"random:sdxl": sdxl_configs, "random:tiny": tiny_configs}
_MADE_SEED = 0

PUBLISHED_KINDS = ("export", "merge")
"""Kinds of manifests beside finished weights."""
FOLDER_NAME = "diffusers"
"""The diffusers folder of an export or a merge."""


def open_source(cfg: ModelConfig) -> Source:
    """The weights of `cfg.base` (`ModelConfig.base` lists what it may be), with the VAE of `cfg.vae` if it names one.

    Raises SetupError when they are not there or cannot be downloaded, DataError when they are no SDXL weights.
    """
    source = _open_base(cfg)
    return source if cfg.vae is None else source.with_vae(open_vae(cfg.vae))


def open_origin(cfg: ModelConfig) -> Source:
    """As `open_source`, but of a run directory only what it took over: the networks that it started from, or those that
    the first of a chain of runs did. No checkpoint is looked at, which would be hashed."""
    run = _run_folder(Path(cfg.base))
    source = open_origin(load_config(run / CONFIG_NAME, _RunConfig).model) if run else _open_base(cfg)
    return source if cfg.vae is None else source.with_vae(open_vae(cfg.vae))


def open_vae(path: str) -> Source:
    """A VAE: the folder or the file of a VAE alone, or whatever `ModelConfig.base` may be."""
    local = Path(path)
    if (local / "config.json").is_file():
        return open_vae_folder(local, path)
    if local.is_file():
        return open_vae_file(local, path)
    if local.exists() or path in _MADE or path == _BUILTIN:
        return open_origin(ModelConfig(base=path))
    folder = download(path, ("vae",))
    return open_vae_folder(folder / "vae" if (folder / "vae").is_dir() else folder, path)


def known_architecture(base: str) -> Architecture | None:
    """That of a base which comes with animetune; None for any other, which would have to be read or downloaded."""
    return _open_base(ModelConfig(base=base)).architecture if base in _MADE or base == _BUILTIN else None


def _open_base(cfg: ModelConfig) -> Source:
    path = Path(cfg.base)
    if cfg.base in _MADE:
        return _open_random(cfg.base, dtype=getattr(torch, cfg.dtype))
    if cfg.base == _BUILTIN:
        return open_folder(_packaged("demo/base"), cfg.base)
    if path.is_file():
        return open_single_file(path, cfg.base)
    run = _run_folder(path)
    if run:
        return _open_run(run, _newest_checkpoint(run) if path == run else path, cfg)
    if path.is_dir():
        return _open_published(path, cfg.base) if has_manifest(path) else open_folder(path, cfg.base)
    source = open_folder(download(cfg.base, COMPONENTS), cfg.base)
    return dataclasses.replace(source, licence=licence_of_base(cfg.base) or source.licence)


def _open_published(folder: Path, name: str) -> Source:
    """An export or a merge: its single file, which says the most, else its diffusers folder."""
    manifest = read_manifest(folder)
    if manifest.kind not in PUBLISHED_KINDS:
        raise DataError(
            f"{name}: holds no weights but the output of another stage ({manifest.kind}); name a run, an export, a "
            "merge, a diffusers folder or a single file"
        )
    cut = [file for file, record in manifest.files.items() if not _has_size(folder / file, record.bytes)]
    if cut:
        raise DataError(f"{name}: {cut[0]} is missing or cut off; make the {manifest.kind} again")
    files = [folder / file for file in manifest.files if "/" not in file and file.endswith(".safetensors")]
    return open_single_file(files[0], name) if files else open_folder(folder / FOLDER_NAME, name)


def _has_size(file: Path, count: int) -> bool:
    return file.is_file() and file.stat().st_size == count


# ---- run directory

_ALL_TIMESTEPS = (0, 1000)


class _RunTimesteps(pydantic.BaseModel):
    range: tuple[int, int] = _ALL_TIMESTEPS


class _RunDiffusion(pydantic.BaseModel):
    prediction: Literal["epsilon", "v", "flow"] = "epsilon"
    zero_terminal_snr: bool = False
    shift: float = 1.0
    shift_by_area: bool = False
    timesteps: _RunTimesteps = _RunTimesteps()


class _RunConfig(pydantic.BaseModel):
    """The part of a run's configuration that says what its weights are."""

    model: ModelConfig
    diffusion: _RunDiffusion = _RunDiffusion()


CONFIG_NAME = "config.yaml"


def _run_folder(path: Path) -> Path | None:
    """The run directory that a path is, or is a checkpoint of."""
    if (path / checkpoint.STATE_NAME).is_file():
        run = path.absolute().parent.parent
        if not (run / CONFIG_NAME).is_file():
            raise DataError(
                f"{path}: is a checkpoint outside of its run: {run / CONFIG_NAME} is missing, which says what it was "
                "trained from; put it back into checkpoints/ of its run's folder"
            )
        return run
    return path if (path / CONFIG_NAME).is_file() else None


def _open_run(run: Path, folder: Path, cfg: ModelConfig) -> Source:
    """A run's checkpoint: UNet and text encoders as trained, the rest as in the base that the run started from."""
    trained = load_config(run / CONFIG_NAME, _RunConfig)
    origin = open_origin(trained.model)
    facts = read_manifest(folder, kind="checkpoint", format_version=checkpoint.CHECKPOINT_FORMAT).facts
    weights = checkpoint.read_weights(folder, cfg.weights)
    return dataclasses.replace(
        origin.with_weights(weights, folder / MANIFEST_NAME),
        name=cfg.base,
        parameterization=Parameterization(**trained.diffusion.model_dump(exclude={"timesteps"})),
        facts={
            "step": str(facts["step"]),
            "config_sha256": facts.get("config_digest", ""),
            "weights": checkpoint.which_weights(folder, cfg.weights),
            **_data_facts(facts.get("data", {})),
            **_timestep_facts(trained.diffusion.timesteps.range),
        },
    )


def _data_facts(data: Mapping[str, str]) -> dict[str, str]:
    """Digests of what it was trained on: shards and label sets, one word a source."""
    return {name: data[name] for name in ("shards", "labels") if name in data}


def _timestep_facts(timesteps: tuple[int, int]) -> dict[str, str]:
    return {} if timesteps == _ALL_TIMESTEPS else {TIMESTEPS_FACT: ",".join(map(str, timesteps))}


def _newest_checkpoint(run: Path) -> Path:
    newest = checkpoint.latest(run)
    if newest is None:
        raise SetupError(f"{run}: this run has no checkpoint yet; train it first, or name another base")
    return newest


# ---- made, or packaged


def _open_random(name: str, *, dtype: torch.dtype) -> Source:
    architecture = _MADE[name]()

    def stored(component: Component) -> State:
        kept = torch.float32 if component == "vae" else dtype
        network = build_seeded(architecture, component, seed=_MADE_SEED, dtype=kept)
        return {name: held(tensor) for name, tensor in canonical_state(network, component).items()}

    return Source(name, architecture, stored, files=dict.fromkeys(COMPONENTS, ()))


def _packaged(place: str) -> Path:
    folder = Path(str(importlib.resources.files("animetune"))) / place
    if not folder.is_dir():
        raise SetupError(f"{folder}: the weights that come with animetune are missing; install animetune again")
    return folder
