"""The training checkpoint: one folder, whole or absent, readable without Lightning and without pickle.

    checkpoints/step-00012000/
        model-<part>.safetensors           the weights, by parameter name (`unet.conv_in.weight`), one file a part
        ema-<decay>-<part>.safetensors     a moving average of the trained weights, fp32; none without EMA
        optim-<part>.safetensors           optimizer state, `<parameter name>/<state key>`
        state.json                         counters, scalars of the optimizer state, digests of data and config
        manifest.json                      SHA-256 of every file, written last

The files are the same whether the tensors were whole or sharded over ranks, so any number of ranks resumes any other.
Each tensor is gathered, written, hashed and let go before the next, so that saving needs memory for one.

`latest` is the newest folder whose every file verifies, so a checkpoint that a failing disk damaged is passed over,
never half loaded. A process hashes a checkpoint once (0.5 to 2 GB/s; SDXL with optimizer state and one average is 35
GB), and what it wrote itself not again. No RNG state is kept: randomness is a function of the counters (`seeding`).
"""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from animetune import fsio
from animetune.errors import DataError, FormatVersionError, ResumeError
from animetune.manifest import (
    MANIFEST_NAME,
    FileRecord,
    Manifest,
    has_manifest,
    read_manifest,
    record_files,
    verify_files,
    write_manifest,
)
from animetune.tensorfile import Entry, Place, file_order, read_outline, write_safetensors

CHECKPOINT_FORMAT = 2
STATE_NAME = "state.json"
FACTS = ("averages", "config_digest", "data", "epoch", "identity", "images", "step", "step_in_epoch")
"""What of the state is in the manifest too, for those who read no more than that."""
SEPARATOR = "/"

Tensors = Mapping[str, torch.Tensor]
Stamp = tuple[tuple[str, int, int], ...]

_verified: dict[Path, Stamp] = {}
"""Checkpoints whose bytes this process has hashed or written -> size and time of change of their files by then."""


@dataclass
class Checkpoint:
    """Everything that training resumes from. Tensors to be saved may lie on any device and be sharded over ranks
    (DTensor); those of a checkpoint that was loaded are read, to the CPU, when they are asked for."""

    step: int
    """Optimizer steps done."""
    model: Tensors
    """Every weight of the model by parameter name (`unet.conv_in.weight`)."""
    ema: Mapping[str, Tensors] = field(default_factory=dict)
    """Decay as text (`0.9999`) -> moving average by parameter name; the first is the one to use. Empty without EMA."""
    optimizer: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Parameter name -> optimizer state: tensors and JSON scalars."""
    state: dict[str, Any] = field(default_factory=dict)
    """JSON values: epoch, images seen, digests, identity of the config."""
    path: Path | None = None
    """Where it was loaded from."""


def folder_name(step: int) -> str:
    """`step-00012000`."""
    return f"step-{step:08d}"


def save(checkpoint: Checkpoint, folder: Path, *, writes: bool = True) -> Path:
    """Publish the checkpoint as `folder/step-<step>`; returns that path.

    Where tensors are sharded, every rank calls it, one of them with `writes`; all take part in gathering them, also
    when that one fails. A checkpoint that is there and whole is left alone (a step has one result); a damaged one is
    replaced.
    """
    target = folder / folder_name(checkpoint.step)
    files, scalars = _files(checkpoint)
    state = {**checkpoint.state, "step": checkpoint.step, "averages": list(checkpoint.ema)}
    gather = _Gather(tensor for tensors in files.values() for tensor in tensors.values())
    try:
        if writes and not (has_manifest(target) and not _damage(target)):
            _publish(target, files, gather, state=state, scalars=scalars)
    finally:
        gather.rest()
    return target


def load(path: Path, *, verify: bool = True) -> Checkpoint:
    """A whole checkpoint; ResumeError names the file that is missing or was changed.

    `verify=False` is for the ranks whose first has verified it: files are then expected, but not hashed.
    """
    manifest = _manifest(path, verify=verify)
    state = json.loads((path / STATE_NAME).read_text(encoding="utf-8"))
    scalars = state.pop("optimizer_scalars")
    return Checkpoint(
        step=state["step"],
        model=Stored.of(path, manifest, "model"),
        ema={decay: Stored.of(path, manifest, f"ema-{decay}") for decay in state.pop("averages")},
        optimizer=_StoredStates(Stored.of(path, manifest, "optim"), scalars),
        state=state,
        path=path,
    )


def read_weights(path: Path, which: str = "ema", *, verify: bool = True) -> Tensors:
    """The weights by parameter name, each read when it is asked for.

    `raw`; `ema` = the raw ones with the first moving average (fp32) put over them; `ema-0.999` = with that of this
    decay. A checkpoint without EMA has only raw weights; asking for `ema` gives those. Raises ResumeError when it is
    damaged, DataError when it has no average of that decay.
    """
    manifest = _manifest(path, verify=verify)
    model = Stored.of(path, manifest, "model")
    kind = which_weights(path, which)
    return model if kind == "raw" else model.under(Stored.of(path, manifest, kind))


def which_weights(path: Path, which: str) -> str:
    """`raw` or `ema-<decay>`: what `read_weights` reads, and raises, for `which`."""
    averages = [f"ema-{decay}" for decay in json.loads((path / STATE_NAME).read_text(encoding="utf-8"))["averages"]]
    if which == "raw" or (which == "ema" and not averages):
        return "raw"
    if which == "ema":
        return averages[0]
    if which not in averages:
        raise DataError(f"{path}: has no weights {which!r}; it has {', '.join(['raw', *averages])}")
    return which


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


def prune(folder: Path, keep: int, *, also_every: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints and those of every `also_every` steps, oldest first.

    Nothing is removed unless the newest one is whole.
    """
    found = steps(folder)
    if len(found) > keep and not _damage(found[-1]):
        for path in found[:-keep]:
            if also_every is None or int(path.name.removeprefix("step-")) % also_every:
                fsio.remove(path)


class _Gather:
    """Makes sharded tensors whole, one after another in an order that all ranks share: each is a collective."""

    def __init__(self, tensors: Iterable[torch.Tensor]):
        # By what a DTensor has: importing its module takes two seconds.
        self._left: deque[Any] = deque(tensor for tensor in tensors if hasattr(tensor, "full_tensor"))

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        if not hasattr(tensor, "full_tensor"):
            return tensor
        assert self._left.popleft() is tensor, "tensors are not written in their order"
        return cast(torch.Tensor, tensor.full_tensor())

    def rest(self) -> None:
        """Take part in gathering those that were not asked for: all on a rank that does not write, none on one that
        has, and what is left where writing failed, since the other ranks go on."""
        while self._left:
            self._left.popleft().full_tensor()


class Stored(Mapping[str, torch.Tensor]):
    """Tensors in safetensors files by name; each access reads a copy to the CPU."""

    def __init__(self, places: Mapping[str, Place]):
        self._places = places

    @classmethod
    def of(cls, path: Path, manifest: Manifest, kind: str) -> Stored:
        """Those of all parts of a kind."""
        files = [name for name in manifest.files if name.startswith(f"{kind}-")]
        return cls({name: place for file in sorted(files) for name, place in read_outline(path / file).tensors.items()})

    def under(self, over: Stored) -> Stored:
        """These, with those of `over` in place of the ones of the same name."""
        return Stored({**self._places, **over._places})

    def place(self, name: str) -> Place:
        """Where a tensor lies, with its shape and dtype."""
        return self._places[name]

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._places[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class _StoredStates(Mapping[str, dict[str, Any]]):
    """Optimizer state by parameter name; each access reads the tensors of one parameter."""

    def __init__(self, tensors: Stored, scalars: Mapping[str, Mapping[str, Any]]):
        self._tensors = tensors
        self._scalars = scalars
        self._keys: dict[str, list[str]] = {name: [] for name in scalars}
        for flat in tensors:
            name, _, key = flat.rpartition(SEPARATOR)
            self._keys.setdefault(name, []).append(key)

    def __getitem__(self, name: str) -> dict[str, Any]:
        tensors = {key: self._tensors[f"{name}{SEPARATOR}{key}"] for key in self._keys[name]}
        return {**self._scalars.get(name, {}), **tensors}

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _files(checkpoint: Checkpoint) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, dict[str, Any]]]:
    """File name -> its tensors in the order of the file, and the scalars of the optimizer state."""
    flat: dict[str, torch.Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for name, state in checkpoint.optimizer.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                flat[f"{name}{SEPARATOR}{key}"] = value
            else:
                scalars.setdefault(name, {})[key] = value
    kinds = {"model": checkpoint.model, **{f"ema-{decay}": each for decay, each in checkpoint.ema.items()}}
    files: dict[str, dict[str, torch.Tensor]] = {}
    for kind, tensors in {**kinds, "optim": flat}.items():
        for name, tensor in sorted(tensors.items(), key=lambda item: file_order(item[0], item[1].dtype)):
            files.setdefault(f"{kind}-{_part(name)}.safetensors", {})[name] = tensor
    return files, scalars


def _publish(
    target: Path,
    files: Mapping[str, Mapping[str, torch.Tensor]],
    gather: Callable[[torch.Tensor], torch.Tensor],
    *,
    state: dict[str, Any],
    scalars: Mapping[str, Any],
) -> None:
    if target.exists():
        fsio.remove(target)
    with fsio.publish_dir(target) as temporary:
        records = {}
        for name, tensors in files.items():
            entries = [
                Entry(each, tuple(tensor.shape), tensor.dtype, functools.partial(gather, tensor))
                for each, tensor in tensors.items()
            ]
            sha256 = write_safetensors(temporary / name, entries, metadata={})
            records[name] = FileRecord(bytes=(temporary / name).stat().st_size, sha256=sha256)
        fsio.write_json(temporary / STATE_NAME, {**state, "optimizer_scalars": scalars})
        records |= record_files(temporary, [STATE_NAME])
        facts = {key: state[key] for key in FACTS if key in state}
        manifest = Manifest(kind="checkpoint", format_version=CHECKPOINT_FORMAT, facts=facts, files=records)
        write_manifest(temporary, manifest)
    _verified[target.resolve()] = _stamp(target, manifest)


def _manifest(path: Path, *, verify: bool) -> Manifest:
    """The manifest of a checkpoint, after its files were verified."""
    problems = _damage(path) if verify else []
    if problems:
        raise ResumeError(f"{path}: the checkpoint is damaged:\n  " + "\n  ".join(problems))
    return read_manifest(path, kind="checkpoint", format_version=CHECKPOINT_FORMAT)


def _damage(path: Path) -> list[str]:
    """What is wrong with the files, one line each."""
    try:
        manifest = read_manifest(path, kind="checkpoint", format_version=CHECKPOINT_FORMAT)
    except FormatVersionError:
        raise
    except DataError as error:
        return [str(error)]
    stamp = _stamp(path, manifest)
    if _verified.get(path.resolve()) == stamp:
        return []
    problems = verify_files(path, manifest)
    if not problems:
        _verified[path.resolve()] = stamp
    return problems


def _stamp(path: Path, manifest: Manifest) -> Stamp:
    """By what a file that was changed since it was hashed is known, without reading it."""
    found = ((name, path / name) for name in sorted([*manifest.files, MANIFEST_NAME]))
    return tuple((name, file.stat().st_size, file.stat().st_mtime_ns) for name, file in found if file.is_file())


def _part(name: str) -> str:
    """The file that a tensor goes into: the part of the model it belongs to."""
    return name.split(SEPARATOR)[0].split(".")[0]
