"""The training checkpoint: one folder, whole or absent, readable without Lightning and without pickle.

    checkpoints/step-00012000/
        model-<part>.safetensors   the weights, by parameter name (`unet.conv_in.weight`), one file a part
        ema-<part>.safetensors     the moving average of the trained weights, fp32; absent without EMA
        optim-<part>.safetensors   optimizer state, `<parameter name>/<state key>`
        state.json                 counters, scalars of the optimizer state, digests of data and config
        manifest.json              SHA-256 of every file, written last

`latest` is the newest folder whose every file verifies, so a checkpoint that a failing disk damaged is passed over,
never half loaded. No RNG state is kept: randomness is a function of the counters (`seeding`).
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from animetune import fsio
from animetune.errors import DataError, FormatVersionError, ResumeError
from animetune.manifest import Manifest, has_manifest, read_manifest, record_files, verify_files, write_manifest

CHECKPOINT_FORMAT = 1
STATE_NAME = "state.json"
SEPARATOR = "/"

Tensors = dict[str, torch.Tensor]


@dataclass
class Checkpoint:
    """Everything that training resumes from; tensors are on the CPU."""

    step: int
    """Optimizer steps done."""
    model: Tensors
    """Every weight of the model by parameter name (`unet.conv_in.weight`)."""
    ema: Tensors = field(default_factory=dict)
    """Moving average by parameter name; empty without EMA."""
    optimizer: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Parameter name -> optimizer state: tensors and JSON scalars."""
    state: dict[str, Any] = field(default_factory=dict)
    """JSON values: epoch, images seen, digests, identity of the config."""


def folder_name(step: int) -> str:
    """`step-00012000`."""
    return f"step-{step:08d}"


def save(checkpoint: Checkpoint, folder: Path) -> Path:
    """Publish the checkpoint as `folder/step-<step>`; returns that path.

    One that is there and whole is left alone (a step has one result); a damaged one is replaced.
    """
    target = folder / folder_name(checkpoint.step)
    if target.exists():
        if has_manifest(target) and not _damage(target):
            return target
        fsio.remove(target)
    with fsio.publish_dir(target) as temporary:
        _save_parts(temporary, "model", checkpoint.model)
        _save_parts(temporary, "ema", checkpoint.ema)
        tensors, scalars = _split(checkpoint.optimizer)
        _save_parts(temporary, "optim", tensors)
        fsio.write_json(
            temporary / STATE_NAME, {**checkpoint.state, "step": checkpoint.step, "optimizer_scalars": scalars}
        )
        facts = {"step": checkpoint.step, **{key: checkpoint.state[key] for key in sorted(checkpoint.state)}}
        manifest = Manifest(kind="checkpoint", format_version=CHECKPOINT_FORMAT, facts=facts)
        write_manifest(temporary, manifest.model_copy(update={"files": record_files(temporary)}))
    return target


def load(path: Path) -> Checkpoint:
    """Read a whole checkpoint; ResumeError names the file that is missing or was changed."""
    _verified(path)
    state = json.loads((path / STATE_NAME).read_text(encoding="utf-8"))
    scalars = state.pop("optimizer_scalars")
    return Checkpoint(
        step=state["step"],
        model=_load_parts(path, "model"),
        ema=_load_parts(path, "ema"),
        optimizer=_join(_load_parts(path, "optim"), scalars),
        state=state,
    )


def read_weights(path: Path, which: Literal["ema", "raw"] = "ema") -> Tensors:
    """The weights by parameter name: `raw`, or `ema` = the raw ones with the moving average (fp32) put over them.

    A checkpoint without EMA has only raw weights; asking for `ema` gives those.
    """
    _verified(path)
    weights = _load_parts(path, "model")
    if which == "ema":
        weights.update(_load_parts(path, "ema"))
    return weights


def steps(folder: Path) -> list[Path]:
    """The finished checkpoints of a folder, oldest first; files are not verified."""
    return sorted(path for path in folder.glob("step-*") if has_manifest(path))


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of `folder` (or of `folder/checkpoints`) that verifies; None when there is none.

    Raises ResumeError when checkpoints exist but every one is damaged: starting anew would hide a loss.
    """
    found = steps(folder) or steps(folder / "checkpoints")
    problems: list[str] = []
    for path in reversed(found):
        damage = _damage(path)
        if not damage:
            return path
        problems += damage
    if problems:
        raise ResumeError(
            f"{folder}: none of its {len(found)} checkpoints is whole:\n  " + "\n  ".join(problems[:10]) + "\n"
            "restore one from a copy, or choose another `run:`"
        )
    return None


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, oldest first, and only after the newest one verified."""
    found = steps(folder)
    if len(found) > keep and not _damage(found[-1]):
        for path in found[:-keep]:
            fsio.remove(path)


def _damage(path: Path) -> list[str]:
    try:
        manifest = read_manifest(path, kind="checkpoint", format_version=CHECKPOINT_FORMAT)
    except FormatVersionError:
        raise
    except DataError as error:
        return [str(error)]
    return verify_files(path, manifest)


def _verified(path: Path) -> None:
    problems = _damage(path)
    if problems:
        raise ResumeError(f"{path}: the checkpoint is damaged:\n  " + "\n  ".join(problems))


def _part(name: str) -> str:
    """The file that a tensor goes into: the part of the model it belongs to."""
    return name.split(SEPARATOR)[0].split(".")[0]


def _save_parts(folder: Path, kind: str, tensors: Mapping[str, torch.Tensor]) -> None:
    for part in _sorted_parts(tensors):
        chosen = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors) if _part(name) == part}
        try:
            save_file(chosen, folder / f"{kind}-{part}.safetensors")
        except SafetensorError as error:
            if f"os error {errno.ENOSPC}" in str(error) or f"os error {errno.EDQUOT}" in str(error):
                raise OSError(errno.ENOSPC, str(error)) from error
            raise


def _sorted_parts(names: Iterable[str]) -> list[str]:
    return sorted({_part(name) for name in names})


def _load_parts(path: Path, kind: str) -> Tensors:
    tensors: Tensors = {}
    for file in sorted(path.glob(f"{kind}-*.safetensors")):
        tensors.update(load_file(file))
    return tensors


def _split(states: Mapping[str, Mapping[str, Any]]) -> tuple[Tensors, dict[str, dict[str, Any]]]:
    """Optimizer state -> flat tensors and JSON scalars."""
    tensors: Tensors = {}
    scalars: dict[str, dict[str, Any]] = {}
    for name, state in states.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{name}{SEPARATOR}{key}"] = value
            else:
                scalars.setdefault(name, {})[key] = value
    return tensors, scalars


def _join(tensors: Tensors, scalars: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    states: dict[str, dict[str, Any]] = {name: dict(values) for name, values in scalars.items()}
    for flat, tensor in tensors.items():
        name, _, key = flat.rpartition(SEPARATOR)
        states.setdefault(name, {})[key] = tensor
    return states
