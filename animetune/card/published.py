"""What an export or a merge says of where its weights come from: runs by the digest of their settings, other models by
the name that the merge gave them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animetune import fsio
from animetune.config import RESOLVED_NAME, identity, load_config
from animetune.errors import AnimetuneError
from animetune.manifest import Manifest, has_manifest, read_manifest
from animetune.train.config import TrainConfig

WEIGHTS_KINDS = ("export", "merge")
_FOLDER_OF_EXPORT = "diffusers"


@dataclass(frozen=True)
class Model:
    """What weights were made of."""

    name: str
    """As a merge calls it, the hub id where it is known, or the file of a LoRA."""
    settings: str = ""
    """`settings_digest` of the run that made it; empty for what no run of ours made, and where nothing is said."""
    licence: str = ""
    """As its files or its page state it; empty where nothing is said."""


@dataclass(frozen=True)
class Published:
    """Finished weights."""

    folder: Path
    kind: str
    """`export` or `merge`."""
    models: tuple[Model, ...]
    """One of an export; of a merge all, and its LoRAs."""
    rule: str = ""
    """How a merge was made, in words."""

    def foreign(self, settings: Iterable[str]) -> list[Model]:
        """The models that none of the runs of these digests made."""
        known = set(settings)
        return [model for model in self.models if not model.settings or model.settings not in known]


def settings_digest(cfg: TrainConfig) -> str:
    """Of the settings that make a run what it is, as checkpoints and all that is made of them state it."""
    return hashlib.sha256(fsio.canonical_json(identity(cfg)).encode()).hexdigest()


def find_published(base: str) -> Published | None:
    """The export or merge that a place is, or lies in; None for anything else."""
    path = Path(base)
    for folder in (path, path.parent):
        if (folder == path or path.is_file() or path.name == _FOLDER_OF_EXPORT) and has_manifest(folder):
            manifest = read_manifest(folder)
            return published(folder, manifest) if manifest.kind in WEIGHTS_KINDS else None
    return None


def published(folder: Path, manifest: Manifest) -> Published:
    """What the manifest of an export or a merge says."""
    facts = manifest.facts
    if manifest.kind != "merge":
        return Published(folder, manifest.kind, (Model(folder.name, str(facts.get("config_sha256", ""))),))
    trained: Mapping[str, Mapping[str, str]] = facts.get("trained", {})
    hub: Mapping[str, str] = facts.get("hub", {})
    licences: Mapping[str, str] = facts.get("licences", {})
    names = dict.fromkeys([*facts.get("models", ()), *filter(None, [facts.get("vae")])])
    models = [
        Model(hub.get(name, name), str(trained.get(name, {}).get("config_sha256", "")), licences.get(name, ""))
        for name in names
    ]
    loras = [str(each["file"]) for each in facts.get("loras", ())]
    models += [Model(name, licence=licences.get(name, "")) for name in dict.fromkeys(loras)]
    return Published(folder, manifest.kind, tuple(models), _rule(facts))


def runs_of(origin: Published, places: Iterable[Path]) -> list[Path]:
    """The run directories among some folders that made its models."""
    wanted = {model.settings for model in origin.models if model.settings}
    found: dict[str, Path] = {}
    for folder in places:
        if wanted - found.keys() and (digest := _settings_of(folder)) in wanted:
            found.setdefault(digest, folder)
    return [found[model.settings] for model in origin.models if model.settings in found]


def _settings_of(folder: Path) -> str:
    """Empty for a folder that is no run."""
    if not (folder / RESOLVED_NAME).is_file():
        return ""
    try:
        return settings_digest(load_config(folder / RESOLVED_NAME, TrainConfig))
    except AnimetuneError:
        return ""


def _rule(facts: Mapping[str, Any]) -> str:
    method: Mapping[str, Any] = facts.get("method") or {}
    said = []
    match method.get("name"):
        case "weighted_sum":
            said.append(" + ".join(f"{weight:g} x {name}" for name, weight in sorted(method["weights"].items())))
        case "add_difference":
            said.append(f"{method['model']} + {method['alpha']:g} x ({method['plus']} - {method['minus']})")
        case "slerp":
            said.append(f"slerp of {method['first']} and {method['second']} at {method['t']:g}")
        case _:
            said += [str(name) for name in facts.get("models", ())]
    if method.get("parts"):
        said.append(f"otherwise in {', '.join(sorted(method['parts']))}")
    said += [f"LoRA {each['file']} at {each['strength']:g}" for each in facts.get("loras", ())]
    return ", ".join(said)
