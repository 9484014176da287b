"""Whether what the steps of a recipe read is there: posts, tables, shards, weights, models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from animetune import remote
from animetune.assets import Asset
from animetune.doctor.findings import Finding, note, ok, problem
from animetune.errors import AnimetuneError
from animetune.manifest import MANIFEST_NAME, has_manifest, read_manifest
from animetune.recipe.config import Recipe, Step
from animetune.recipe.stages import Read

PATIENCE = 30.0
"""Seconds for an object store to answer."""
COMPONENTS = ("unet", "text_encoder", "text_encoder_2", "vae")
MADE = ("random:", "builtin:")

_T = TypeVar("_T")


def input_findings(recipe: Recipe) -> Iterator[Finding]:
    """Whether each step's inputs are there, or will be made by a step before it."""
    made: dict[str, str] = {}
    told: set[str] = set()
    for step in recipe.steps:
        fine = 0
        models = {str(asset.path) for _, asset in assets_of(step.cfg) if asset.path is not None}
        inputs = [read for read in step.inputs if read.place not in models]  # which have findings of their own
        for read in inputs:
            place = read.place.rstrip("/")
            maker = next(
                (name for folder, name in made.items() if place == folder or place.startswith(folder + "/")), ""
            )
            found = ok(step.name, "") if maker else _input_finding(step, read)
            if found.state == "ok":
                fine += 1
            elif (text := found.text.removeprefix(read.key)) not in told:  # of several steps, the first says it
                told.add(text)
                yield found
        if fine:
            yield ok(step.name, f"{fine} of {len(inputs)} inputs are there, or made by a step before")
        made[step.writes.rstrip("/")] = step.name


def asset_findings(recipe: Recipe) -> Iterator[Finding]:
    """Taggers, scorers, detectors: each file there, with the SHA-256 that the configuration states."""
    seen: set[str] = set()
    for step in recipe.steps:
        for key, asset in assets_of(step.cfg):
            if asset.name in seen:
                continue
            seen.add(asset.name)
            if asset.hub is not None and asset.allow_download:
                asset_here = asset.model_copy(update={"allow_download": False})
                found = _located(step, key, asset_here)
                yield found if found.state == "ok" else note(step.name, f"{asset.name}: will be downloaded")
            else:
                yield _located(step, key, asset)


def assets_of(value: Any, above: str = "") -> Iterator[tuple[str, Asset]]:
    """Every asset in a configuration, with its setting, dotted."""
    if isinstance(value, Asset):
        yield above, value
        return
    items: Any = ()
    if isinstance(value, pydantic.BaseModel):
        items = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    for name, item in items:
        yield from assets_of(item, f"{above}.{name}" if above else str(name))


def in_time(function: Callable[[], _T], seconds: float) -> _T:
    """What `function` returns, or raises; TimeoutError when it takes longer, and then it is left to itself."""
    box: list[Any] = []

    def work() -> None:
        try:
            box.append((True, function()))
        except Exception as error:  # for the caller's thread
            box.append((False, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not box:
        raise TimeoutError(f"no answer in {seconds:g} s")
    done, value = box[0]
    if not done:
        raise value
    result: _T = value
    return result


def _input_finding(step: Step, read: Read) -> Finding:
    match read.kind:
        case "weights":
            return _weights_finding(step, read)
        case "output" | "table" | "shards" | "labels" | "run" | "export":
            return _output_finding(step, read)
        case "source":
            return _source_finding(step, read)
        case _:
            is_there = Path(read.place).exists()
            return ok(step.name, read.place) if is_there else _absent(step, read, "get it, or correct the path")


def _weights_finding(step: Step, read: Read) -> Finding:
    base = read.place
    if base.startswith(MADE) or Path(base).is_file():
        return ok(step.name, base)
    if Path(base).is_dir():
        files = list(Path(base).rglob("*.safetensors"))
        return ok(step.name, base) if files else _absent(step, read, "it is a folder without safetensors: name another")
    if base.count("/") != 1 or base.startswith((".", "/", "~", "runs/")):
        return _absent(step, read, "run the step that makes it first, or correct the path")
    return _hub_finding(step, read)


def _hub_finding(step: Step, read: Read) -> Finding:
    """Of a repository: whether its weights are in the cache, or may be downloaded."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(huggingface_hub.snapshot_download(read.place, local_files_only=True))
        lacking = [name for name in COMPONENTS if not list(folder.glob(f"{name}/*.safetensors"))]
    except (LocalEntryNotFoundError, OSError, ValueError):
        lacking = list(COMPONENTS)
    if read.key.endswith("vae") and len(lacking) < len(COMPONENTS):
        lacking = []
    if not lacking:
        return ok(step.name, f"{read.place} is in the hub's cache")
    what = (
        f"{read.key}: {read.place}: {'is' if len(lacking) == len(COMPONENTS) else ', '.join(lacking) + ' are'} not in "
    )
    remedy = f"where there is a network: hf download {read.place}"
    if constants.HF_HUB_OFFLINE:
        return problem(step.name, f"{what}the hub's cache, and the hub may not be asked (HF_HUB_OFFLINE)", remedy)
    return note(step.name, f"{what}the hub's cache: will be downloaded, about 7 GB or more", remedy)


def _output_finding(step: Step, read: Read) -> Finding:
    remedy = "run the stage that makes it first, or correct the path"
    if remote.is_remote(read.place):
        url = f"{read.place.rstrip('/')}/{MANIFEST_NAME}"
        try:
            is_there = in_time(lambda: remote.exists(url), PATIENCE)
        except (AnimetuneError, TimeoutError) as error:
            return problem(step.name, f"{read.key}: {read.place}: {error}", "check endpoint, credentials and the URL")
        return ok(step.name, read.place) if is_there else _absent(step, read, remedy)
    if not has_manifest(remote.without_file_scheme(read.place)):
        return _absent(step, read, remedy)
    try:
        read_manifest(remote.without_file_scheme(read.place))
    except AnimetuneError as error:
        return problem(step.name, f"{read.key}: {error}", "restore it, or make it again")
    return ok(step.name, read.place)


def _source_finding(step: Step, read: Read) -> Finding:
    try:
        found = in_time(lambda: remote.find_files(read.place), PATIENCE)
    except (AnimetuneError, TimeoutError) as error:
        return problem(step.name, f"{read.key}: {read.place}: {error}", "check endpoint, credentials and the URL")
    if found or (not remote.is_remote(read.place) and Path(read.place).is_dir()):
        return ok(step.name, read.place)
    return _absent(step, read, "point it at your posts, or correct the pattern")


def _absent(step: Step, read: Read, remedy: str) -> Finding:
    return problem(step.name, f"{read.key}: {read.place}: is not there", remedy)


def _located(step: Step, key: str, asset: Asset) -> Finding:
    try:
        path = asset.locate()
    except AnimetuneError as error:
        return problem(step.name, f"{key}: {error}", "docs/models.md says where each is from")
    licence = f"licence {asset.licence}" if asset.licence else "licence not stated"
    if asset.sha256 is None:
        return note(step.name, f"{path} is there ({licence}); state its sha256, so that another file is noticed")
    return ok(step.name, f"{path}, as stated ({licence})")
