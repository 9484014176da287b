"""The places that weights come from, each seen as one `Source`: its architecture, and its tensors under our names.

    hub id --download--> folder    unet/, vae/, text_encoder/, text_encoder_2/ with config.json and safetensors
    single file                    LDM names (`keys`); SDXL's configurations, or those in its metadata
    run directory                  its newest verified checkpoint; architecture and VAE of the base it started from
    random:sdxl, random:tiny       made, always the same

Only safetensors are read: pickled files (.ckpt, .bin) can run code. A local file or folder never opens a socket.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pydantic
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from animetune import checkpoint, tokens
from animetune.config import load_config
from animetune.errors import DataError, SetupError
from animetune.manifest import MANIFEST_NAME, read_manifest
from animetune.models import keys
from animetune.models.config import ModelConfig
from animetune.models.networks import Tensors, canonical_name, network_links
from animetune.models.sdxl import (
    COMPONENTS,
    EPSILON,
    LOGIT_SCALE,
    Architecture,
    Component,
    Parameterization,
    build_seeded,
    sdxl_configs,
)
from animetune.models.tiny import tiny_configs

_BUILTIN = "builtin:tiny"
_MADE = {"random:sdxl": sdxl_configs, "random:tiny": tiny_configs}
_MADE_SEED = 0

FACTS_PREFIX = "animetune."
ARCHITECTURE_KEY = "animetune.architecture"
"""Metadata of a single file whose networks are not SDXL's: their configurations, as JSON."""
FLOW_KEY = "animetune.flow"
"""Metadata of a single file that predicts a flow, as `modelspec.prediction_type` says: its shift, as JSON."""


@dataclass(frozen=True)
class Source:
    """Weights that can be read."""

    name: str
    """As the configuration names it."""
    architecture: Architecture
    read: Callable[[Component], Tensors]
    """The tensors of one network under our names, without its prefix."""
    files: Mapping[Component, tuple[Path, ...]]
    """What each network is read from; a checkpoint is vouched for by its manifest."""
    parameterization: Parameterization = EPSILON
    logit_scale: float = LOGIT_SCALE
    facts: Mapping[str, str] = field(default_factory=dict)
    """How the weights were trained: `step`, `config_sha256`, `weights`; empty when nothing is known."""

    def with_vae(self, vae: Source) -> Source:
        """This source, but with the VAE of another."""
        return dataclasses.replace(
            self,
            architecture=dataclasses.replace(self.architecture, vae=vae.architecture.vae),
            read=lambda component: (vae if component == "vae" else self).read(component),
            files={**self.files, "vae": vae.files["vae"]},
        )

    def with_weights(self, weights: checkpoint.Tensors, manifest: Path) -> Source:
        """This source, but with UNet and text encoders from a training checkpoint, which its manifest vouches for."""

        def read(component: Component) -> Tensors:
            if component == "vae":
                return self.read(component)
            prefix = f"{component}."
            return (
                (canonical_name(name.removeprefix(prefix), component), weights[name])
                for name in weights
                if name.startswith(prefix)
            )

        files = {**dict.fromkeys(COMPONENTS, (manifest,)), "vae": self.files["vae"]}
        return dataclasses.replace(self, read=read, files=files)


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
        return _open_vae_folder(local, path)
    if local.is_file():
        return _open_vae_file(local, path)
    if local.exists() or path in _MADE or path == _BUILTIN:
        return open_origin(ModelConfig(base=path))
    folder = _download(path, ("vae",))
    return _open_vae_folder(folder / "vae" if (folder / "vae").is_dir() else folder, path)


def known_architecture(base: str) -> Architecture | None:
    """That of a base which comes with animetune; None for any other, which would have to be read or downloaded."""
    return _open_base(ModelConfig(base=base)).architecture if base in _MADE or base == _BUILTIN else None


def _open_base(cfg: ModelConfig) -> Source:
    path = Path(cfg.base)
    if cfg.base in _MADE:
        return _open_random(cfg.base, dtype=getattr(torch, cfg.dtype))
    if cfg.base == _BUILTIN:
        return _open_folder(_packaged("demo/base"), cfg.base)
    if path.is_file():
        return _open_single_file(path, cfg.base)
    run = _run_folder(path)
    if run:
        return _open_run(run, _newest_checkpoint(run) if path == run else path, cfg)
    return _open_folder(path if path.is_dir() else _download(cfg.base, COMPONENTS), cfg.base)


# ---- diffusers folder


def _open_folder(folder: Path, name: str) -> Source:
    absent = [component for component in COMPONENTS if not (folder / component / "config.json").is_file()]
    if absent:
        raise DataError(
            f"{name}: is no diffusers folder of SDXL: {', '.join(f'{each}/config.json' for each in absent)} missing"
        )
    configs = {component: _read_config(folder / component / "config.json") for component in COMPONENTS}
    files = {component: _weight_files(folder / component) for component in COMPONENTS}
    return Source(
        name=name,
        architecture=Architecture(**configs),
        read=lambda component: _read_files(files[component], component),
        files=files,
        parameterization=_scheduler_parameterization(folder / "scheduler" / "scheduler_config.json"),
    )


def _open_vae_folder(folder: Path, name: str) -> Source:
    files = _weight_files(folder)
    return Source(
        name=name,
        architecture=dataclasses.replace(sdxl_configs(), vae=_read_config(folder / "config.json")),
        read=lambda component: _read_files(files, component),
        files={"vae": files},
    )


def _read_config(path: Path) -> dict[str, Any]:
    """The network's settings, without what libraries add for their own bookkeeping."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config = {key: value for key, value in config.items() if not key.startswith("_") and key not in _BOOKKEEPING}
    if "max_position_embeddings" in config:
        # Published CLIP configurations state ids that the vocabulary does not have (bos 0, eos 2, pad 1).
        pad = tokens.PAD_G if path.parent.name == "text_encoder_2" else tokens.PAD_L
        config |= {"bos_token_id": tokens.BOS, "eos_token_id": tokens.EOS, "pad_token_id": pad}
    return config


_BOOKKEEPING = {"architectures", "model_type", "torch_dtype", "dtype", "transformers_version"}


def _weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors of a network's folder: whole before shards, full precision before the half-precision variant."""
    for stem in ("diffusion_pytorch_model", "model"):
        for variant in ("", ".fp16", ".bf16"):
            whole = folder / f"{stem}{variant}.safetensors"
            index = folder / f"{stem}.safetensors.index{variant}.json"
            if whole.is_file():
                return (whole,)
            if index.is_file():
                shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
                return tuple(folder / shard for shard in sorted(set(shards)))
    raise DataError(
        f"{folder}: holds no safetensors of the network"
        + (" (pickled .bin files are not read: they can run code; convert them)" if list(folder.glob("*.bin")) else "")
    )


def _read_files(files: Iterable[Path], component: Component) -> Iterator[tuple[str, Tensor]]:
    for file in files:
        with _open_safetensors(file) as stream:
            for name in stream.keys():  # noqa: SIM118 - safe_open is no dict
                if not name.endswith("position_ids"):
                    yield canonical_name(name, component), stream.get_tensor(name)


def _scheduler_parameterization(path: Path) -> Parameterization:
    if not path.is_file():
        return EPSILON
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("_class_name") == "FlowMatchEulerDiscreteScheduler":  # which has no prediction type
        return Parameterization("flow", shift=float(config.get("shift", 1)))
    given = config.get("prediction_type", "epsilon")
    if given not in _PREDICTION_TYPES:
        raise DataError(f"{path}: prediction_type {given!r} is none of {', '.join(_PREDICTION_TYPES)}")
    prediction = _PREDICTION_TYPES[given]
    if prediction == "flow":
        return Parameterization(prediction, shift=float(config.get("flow_shift", 1)))
    return Parameterization(prediction, bool(config.get("rescale_betas_zero_snr", False)))


_PREDICTION_TYPES: dict[str, Literal["epsilon", "v", "flow"]] = {
    "epsilon": "epsilon",
    "v_prediction": "v",
    "flow_prediction": "flow",
}


# ---- single file


def _open_single_file(path: Path, name: str) -> Source:
    with _open_safetensors(path) as stream:
        present = set(stream.keys())
        metadata = stream.metadata() or {}
        logit_scale = LOGIT_SCALE
        if keys.LOGIT_SCALE_KEY in present:
            logit_scale = stream.get_tensor(keys.LOGIT_SCALE_KEY).item()
    absent = [
        component
        for component in COMPONENTS
        if component != "vae" and not any(key.startswith(keys.PREFIXES[component]) for key in present)
    ]
    if absent:
        raise DataError(
            f"{name}: is no SDXL checkpoint: it has no tensors named "
            + ", ".join(f"{keys.PREFIXES[component]}*" for component in absent)
        )
    architecture = _embedded_architecture(metadata, name)
    return Source(
        name=name,
        architecture=architecture,
        read=lambda component: _read_ldm(path, network_links(architecture, component), keys.PREFIXES[component]),
        files=dict.fromkeys(COMPONENTS, (path,)),
        parameterization=_marked_parameterization(present, metadata, name),
        logit_scale=logit_scale,
        facts={
            key.removeprefix(FACTS_PREFIX): value
            for key, value in metadata.items()
            if key.startswith(FACTS_PREFIX) and key not in (ARCHITECTURE_KEY, FLOW_KEY)
        },
    )


def _open_vae_file(path: Path, name: str) -> Source:
    """A VAE alone, under its LDM names with or without prefix or under diffusers' names, or a whole single file."""
    with _open_safetensors(path) as stream:
        present = set(stream.keys())
        architecture = _embedded_architecture(stream.metadata() or {}, name)
    prefix = keys.PREFIXES["vae"]
    if any(key.startswith("encoder.down_blocks.") for key in present):
        return Source(name, architecture, lambda component: _read_files([path], component), {"vae": (path,)})
    stored_prefix = prefix if any(key.startswith(prefix) for key in present) else ""

    def read(component: Component) -> Iterator[tuple[str, Tensor]]:
        links = network_links(architecture, component)
        return _read_ldm(path, links, prefix, stored_prefix=stored_prefix)

    return Source(name, architecture, read, {"vae": (path,)})


def _read_ldm(
    path: Path, links: list[keys.Link], prefix: str, *, stored_prefix: str | None = None
) -> Iterator[tuple[str, Tensor]]:
    stored = prefix if stored_prefix is None else stored_prefix
    by_ldm = {stored + link.ldm.removeprefix(prefix): link for link in links}
    with _open_safetensors(path) as stream:
        for name in sorted(stream.keys()):
            if not name.startswith(stored) or _is_ignored(name):
                continue
            tensor = stream.get_tensor(name)
            if name in by_ldm:
                yield from zip(by_ldm[name].names, by_ldm[name].from_ldm(tensor), strict=True)
            else:
                # diffusers' own conversion script writes the linear layer's matrix, under the layer's name.
                yield name.removeprefix(keys.PREFIXES["text_encoder_2"]) if name == _LINEAR_PROJECTION else name, tensor


_LINEAR_PROJECTION = keys.PREFIXES["text_encoder_2"] + "text_projection.weight"


def _is_ignored(name: str) -> bool:
    """Whether a tensor is left over from training or counting, and no weight."""
    return name.endswith(("position_ids", ".logit_scale")) or name.startswith(
        ("first_stage_model.loss.", "first_stage_model.model_ema.", "loss.", "model_ema.")
    )


def _marked_parameterization(present: set[str], metadata: dict[str, str], name: str) -> Parameterization:
    said = metadata.get("modelspec.prediction_type")
    if keys.V_PREDICTION_KEY in present or said == "v":
        return Parameterization("v", keys.ZERO_TERMINAL_SNR_KEY in present)
    if said != "flow":
        return EPSILON
    try:
        return Parameterization("flow", **json.loads(metadata.get(FLOW_KEY, "{}")))
    except (json.JSONDecodeError, TypeError) as error:
        raise DataError(f"{name}: its metadata {FLOW_KEY} cannot be read: {error}") from error


def _embedded_architecture(metadata: dict[str, str], name: str) -> Architecture:
    if ARCHITECTURE_KEY not in metadata:
        return sdxl_configs()
    try:
        return Architecture(**json.loads(metadata[ARCHITECTURE_KEY]))
    except (json.JSONDecodeError, TypeError) as error:
        raise DataError(f"{name}: its metadata {ARCHITECTURE_KEY} cannot be read: {error}") from error


# ---- run directory


class _RunDiffusion(pydantic.BaseModel):
    prediction: Literal["epsilon", "v", "flow"] = "epsilon"
    zero_terminal_snr: bool = False
    shift: float = 1.0
    shift_by_area: bool = False


class _RunConfig(pydantic.BaseModel):
    """The part of a run's configuration that says what its weights are."""

    model: ModelConfig
    diffusion: _RunDiffusion = _RunDiffusion()


CONFIG_NAME = "config.yaml"


def _run_folder(path: Path) -> Path | None:
    """The run directory that a path is, or is a checkpoint of."""
    if (path / checkpoint.STATE_NAME).is_file():
        return path.parent.parent
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
        parameterization=Parameterization(**trained.diffusion.model_dump()),
        facts={
            "step": str(facts["step"]),
            "config_sha256": facts.get("config_digest", ""),
            "weights": checkpoint.which_weights(folder, cfg.weights),
        },
    )


def _newest_checkpoint(run: Path) -> Path:
    newest = checkpoint.latest(run)
    if newest is None:
        raise SetupError(f"{run}: this run has no checkpoint yet; train it first, or name another base")
    return newest


# ---- made, packaged or downloaded


def _open_random(name: str, *, dtype: torch.dtype) -> Source:
    architecture = _MADE[name]()

    def read(component: Component) -> Tensors:
        kept = torch.float32 if component == "vae" else dtype
        state = build_seeded(architecture, component, seed=_MADE_SEED, dtype=kept).state_dict()
        while state:  # each is gone once it was taken, so that the weights are never there twice
            yield state.popitem(last=False)

    return Source(name, architecture, read, files=dict.fromkeys(COMPONENTS, ()))


def _packaged(place: str) -> Path:
    folder = Path(str(importlib.resources.files("animetune"))) / place
    if not folder.is_dir():
        raise SetupError(f"{folder}: the weights that come with animetune are missing; install animetune again")
    return folder


def _download(repository: str, components: Sequence[Component]) -> Path:
    """The folder of a hub repository in the local cache, downloaded where it is not there."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", repository) or Path(repository).suffix in _WEIGHT_SUFFIXES:
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
        "model_index.json",
        "scheduler/scheduler_config.json",
        *(f"{place}config.json" for place in places),
        *(f"{stem}.safetensors" for stem in stems),
        *(f"{stem}-0*.safetensors" for stem in stems),
        *(f"{place}*.index*.json" for place in places),
    ]


_PICKLED = {".ckpt", ".pt", ".pth", ".bin"}
_WEIGHT_SUFFIXES = _PICKLED | {".safetensors"}


def _open_safetensors(path: Path) -> Any:
    if path.suffix in _PICKLED:
        raise DataError(f"{path}: pickled weights are not read, they can run code; convert the file to safetensors")
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: is no readable safetensors file ({error})") from error
