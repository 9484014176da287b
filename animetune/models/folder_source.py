"""The diffusers folder as a `Source`: unet/, vae/, text_encoder/, text_encoder_2/ with config.json and safetensors."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from animetune import tokens
from animetune.errors import DataError
from animetune.models import recognize
from animetune.models.file_source import named_state, one_type, open_outline
from animetune.models.lazy import State
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

BESIDE_NAME = "animetune.json"
"""In a folder that animetune wrote: what diffusers' own files have no place for (`Beside`)."""


@dataclasses.dataclass(frozen=True)
class Beside:
    """What a single file says and a diffusers folder cannot."""

    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    licence: str | None = None
    logit_scale: float = LOGIT_SCALE
    shift_by_area: bool = False


def open_folder(folder: Path, name: str) -> Source:
    """All of SDXL; DataError says what the folder is when it is something else."""
    _check_kind(folder, name)
    configs = {component: _read_config(folder / component / "config.json") for component in COMPONENTS}
    files = {component: _weight_files(folder / component) for component in COMPONENTS}
    beside = _read_beside(folder / BESIDE_NAME)
    parameterization = _scheduler_parameterization(folder / "scheduler" / "scheduler_config.json")
    if parameterization.prediction == "flow":
        parameterization = parameterization._replace(shift_by_area=beside.shift_by_area)
    return Source(
        name=name,
        architecture=Architecture(**configs),
        stored=lambda component: one_type(_files_state(files[component], component), component, name),
        files=files,
        parameterization=parameterization,
        logit_scale=beside.logit_scale,
        facts=beside.facts,
        licence=beside.licence or _stated_licence(folder / "README.md"),
    )


def open_vae_folder(folder: Path, name: str) -> Source:
    """A VAE alone."""
    files = _weight_files(folder)
    return Source(
        name=name,
        architecture=dataclasses.replace(sdxl_configs(), vae=_read_config(folder / "config.json")),
        stored=lambda component: _files_state(files, component),
        files={"vae": files},
    )


def _check_kind(folder: Path, name: str) -> None:
    unet = _json(folder / "unet" / "config.json")
    foreign = recognize.foreign_unet(unet.get("in_channels", 4), unet.get("projection_class_embeddings_input_dim"))
    if foreign:
        raise DataError(f"{name}: is {foreign.what}, where SDXL is needed; {foreign.remedy}")
    absent = [component for component in COMPONENTS if not (folder / component / "config.json").is_file()]
    if not absent:
        return
    pipeline = _json(folder / "model_index.json").get("_class_name")
    said = f" (it is one for {pipeline})" if pipeline not in (None, "StableDiffusionXLPipeline") else ""
    raise DataError(
        f"{name}: is no diffusers folder of SDXL{said}: {', '.join(f'{each}/config.json' for each in absent)} missing"
    )


def _read_config(path: Path) -> dict[str, Any]:
    """The network's settings, without what libraries add for their own bookkeeping."""
    config = _json(path)
    config = {key: value for key, value in config.items() if not key.startswith("_") and key not in _BOOKKEEPING}
    if "max_position_embeddings" in config:
        # Published CLIP configurations state ids that the vocabulary does not have (bos 0, eos 2, pad 1).
        pad = tokens.PAD_G if path.parent.name == "text_encoder_2" else tokens.PAD_L
        config |= {"bos_token_id": tokens.BOS, "eos_token_id": tokens.EOS, "pad_token_id": pad}
    return config


_BOOKKEEPING = {"architectures", "model_type", "torch_dtype", "dtype", "transformers_version"}


def _json(path: Path) -> dict[str, Any]:
    """{} when the file is not there; DataError when it is no JSON object."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error}); copy or download it again") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: is no JSON object; copy or download it again")
    return found


def _weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors of a network's folder: whole before shards, full precision before the half-precision variant."""
    for stem in ("diffusion_pytorch_model", "model"):
        for variant in ("", ".fp16", ".bf16"):
            whole = folder / f"{stem}{variant}.safetensors"
            index = folder / f"{stem}.safetensors.index{variant}.json"
            if whole.is_file():
                return (whole,)
            if index.is_file():
                return _sharded(index)
    raise DataError(
        f"{folder}: holds no safetensors of the network"
        + (" (pickled .bin files are not read: they can run code; convert them)" if list(folder.glob("*.bin")) else "")
    )


def _sharded(index: Path) -> tuple[Path, ...]:
    shards = sorted({str(shard) for shard in _json(index).get("weight_map", {}).values()})
    absent = [shard for shard in shards if not (index.parent / shard).is_file()]
    if absent or not shards:
        raise DataError(
            f"{index}: names files that are not there: {', '.join(absent) or 'none at all'}; download the rest"
        )
    return tuple(index.parent / shard for shard in shards)


def _files_state(files: Sequence[Path], component: Component) -> State:
    return {name: lazy for file in files for name, lazy in named_state(open_outline(file).tensors, component).items()}


def _scheduler_parameterization(path: Path) -> Parameterization:
    if not path.is_file():
        return EPSILON
    config = _json(path)
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


def _read_beside(path: Path) -> Beside:
    try:
        return Beside(**_json(path))
    except TypeError as error:
        raise DataError(f"{path}: is none that animetune wrote: {error}") from error


def _stated_licence(card: Path) -> str | None:
    """`license` of a model card's front matter, or `license_name` where that says `other`."""
    if not card.is_file():
        return None
    front = re.match(r"---\r?\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    lines = re.findall(r"^(license|license_name):[ \t]*[\"']?([^\"'\r\n#]+)", front[1] if front else "", re.MULTILINE)
    said = {key: value.strip() for key, value in lines}
    stated = said.get("license", "")
    return (said.get("license_name", stated) if stated in ("other", "") else stated) or None
