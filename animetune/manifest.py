"""The JSON beside every published output: what it is and was made from, what was counted, what every file hashes to.

A manifest holds no time, host, path outside its folder or process id, so that two runs with equal inputs give equal
bytes. It is written last: a folder without `manifest.json` is not finished. It holds its own digest too, so that a
changed byte in it is found as surely as one in the files that it vouches for.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pydantic

from animetune import fsio
from animetune.errors import ConfigError, DataError, FormatVersionError, SetupError

MANIFEST_NAME = "manifest.json"


class FileRecord(pydantic.BaseModel):
    """Size in bytes and SHA-256 of one file."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    bytes: int
    sha256: str


class Manifest(pydantic.BaseModel):
    """What a stage, a step or a chunk published.

    `seen = kept + sum(dropped) + sum(quarantined)` is asserted wherever rows are counted (`check_outcomes`).
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    kind: str
    """What this is: `table`, `step`, `chunk`, `shard-root`, `label-set`, `checkpoint`, `run`, `export` ..."""
    format_version: int
    """Version of the layout of this kind; a reader refuses others (`read_manifest`)."""
    config_digest: str = ""
    """Digest of the configuration that made it (`config.digest`)."""
    inputs: dict[str, str] = {}
    """Name -> digest of everything that was read."""
    seen: int = 0
    """Rows looked at."""
    kept: int = 0
    """Rows that went on."""
    dropped: dict[str, int] = {}
    """Filter name -> rows it dropped."""
    quarantined: dict[str, int] = {}
    """Code -> rows that could not be used."""
    facts: dict[str, Any] = {}
    """Whatever else a reader of this kind needs; JSON values only."""
    files: dict[str, FileRecord] = {}
    """Path relative to the manifest's folder, and inside it -> size and hash."""

    @pydantic.field_validator("files")
    @classmethod
    def _inside_the_folder(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for name in files:
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"{name!r} leads out of the folder")
        return files

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: the identity of everything that the manifest vouches for."""
        return _digest(self.model_dump())

    def check_outcomes(self) -> None:
        """Raise DataError unless every row seen has exactly one outcome."""
        outcomes = self.kept + sum(self.dropped.values()) + sum(self.quarantined.values())
        if self.seen != outcomes:
            raise DataError(
                f"{self.kind}: {self.seen} rows were seen but {outcomes} have an outcome (kept {self.kept}, "
                f"dropped {self.dropped}, quarantined {self.quarantined}); this is a bug in animetune, please report it"
            )


def record_files(folder: str | os.PathLike[str], names: list[str] | None = None) -> dict[str, FileRecord]:
    """Hash the files of `folder` (all but the manifest, at any depth; or only `names`), in name order."""
    root = Path(folder)
    found = (
        names
        if names is not None
        else [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    )
    return {
        name: FileRecord(bytes=(root / name).stat().st_size, sha256=fsio.sha256_file(root / name))
        for name in sorted(found)
        if name != MANIFEST_NAME and not Path(name).name.startswith(".")
    }


def write_manifest(folder: str | os.PathLike[str], manifest: Manifest) -> Manifest:
    """Write `folder/manifest.json` atomically and return the manifest."""
    fsio.atomic_write(Path(folder) / MANIFEST_NAME, _as_text(manifest.model_dump()))
    return manifest


def has_manifest(folder: str | os.PathLike[str]) -> bool:
    """Whether `folder` was finished."""
    return os.path.isfile(Path(folder) / MANIFEST_NAME)  # unlike Path.is_file, says no where it may not look


def check_place(folder: str | os.PathLike[str], kind: str, *, setting: str = "out") -> None:
    """Raise ConfigError when `folder`, which `setting` names, holds another kind of output than `kind`.

    Every stage asks before it writes anything: the manifest that it publishes would replace the one that is there. An
    output of the same kind may be replaced, so its version and digest are not looked at.
    """
    if not has_manifest(folder):
        return
    path = Path(folder) / MANIFEST_NAME
    try:
        found = str(json.loads(path.read_bytes())["kind"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{setting}: {path} is damaged, or no manifest of animetune; choose another folder, or remove it"
        ) from error
    if found != kind:
        raise ConfigError(f"{setting}: {folder} is {_one(found)}; choose another folder")


def same_output(folder: str | os.PathLike[str], announced: Manifest, *, remedy: str = "") -> Manifest:
    """The manifest of `folder`, if that holds what `announced` says: the same configuration over the same inputs.

    For stages whose output is published once and never replaced. Raises SetupError for anything else, with `remedy`.
    """
    if has_manifest(folder):
        existing = read_manifest(folder, kind=announced.kind, format_version=announced.format_version)
        if (existing.config_digest, existing.inputs) == (announced.config_digest, announced.inputs):
            return existing
    raise SetupError(
        f"out: {folder}: holds another {announced.kind} (or something else)"
        + (remedy or "; choose another folder or remove that one")
    )


def read_manifest(
    folder: str | os.PathLike[str], *, kind: str | None = None, format_version: int | None = None
) -> Manifest:
    """Read `folder/manifest.json`, and check its kind and version unless they are None.

    Raises DataError when it is absent, damaged or of another kind, FormatVersionError for another version.
    """
    path = Path(folder) / MANIFEST_NAME
    if not path.is_file():
        state = "is not finished" if path.parent.is_dir() else "does not exist"
        raise DataError(
            f"{path.parent}: {state}: there is no {MANIFEST_NAME}; run the stage that makes this "
            f"{kind or 'output'} (again)"
        )
    return parse_manifest(path.read_bytes(), path.parent, kind=kind, format_version=format_version)


def parse_manifest(
    data: bytes, folder: str | os.PathLike[str], *, kind: str | None = None, format_version: int | None = None
) -> Manifest:
    """The manifest that `data` is, as `read_manifest` does it; `folder`, a path or URL, is named in errors."""
    try:
        written = json.loads(data)
        digest = written.pop("digest", None)
        manifest = Manifest.model_validate(written)
        text = _as_text(written)
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{folder}/{MANIFEST_NAME}: is not a manifest of animetune: {error}") from error
    if kind is not None and manifest.kind != kind:
        raise DataError(f"{folder}: is {_one(manifest.kind)}, but {_one(kind)} is needed here")
    if format_version is not None and manifest.format_version != format_version:
        raise FormatVersionError(
            f"{folder}: this {manifest.kind} has format version {manifest.format_version}, this animetune reads "
            f"version {format_version}; make it again with this version"
        )
    if digest is None:
        raise FormatVersionError(
            f"{folder}/{MANIFEST_NAME}: was written by an older animetune, without a digest; make this {manifest.kind} "
            "again with this version"
        )
    if data != text.encode():
        raise DataError(
            f"{folder}/{MANIFEST_NAME}: its bytes have changed since it was written (its digest differs); restore it, "
            f"or remove it and run the stage that makes this {manifest.kind} again"
        )
    return manifest


def verify_files(folder: str | os.PathLike[str], manifest: Manifest) -> list[str]:
    """Check every file of the manifest; returns one line a problem, naming the file (empty: all is well)."""
    problems = []
    for name, record in manifest.files.items():
        path = Path(folder) / name
        if not path.is_file():
            problems.append(f"{path}: is missing")
        elif path.stat().st_size != record.bytes:
            problems.append(f"{path}: has {path.stat().st_size} bytes, {record.bytes} were written")
        elif fsio.sha256_file(path) != record.sha256:
            problems.append(f"{path}: its bytes have changed (SHA-256 differs)")
    return problems


def _one(kind: str) -> str:
    """`a table`, `an export`, `a folder of samples`."""
    if kind.endswith("s"):
        return f"a folder of {kind}"
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(fsio.canonical_json(value).encode()).hexdigest()


def _as_text(value: dict[str, Any]) -> str:
    """The bytes of the file; there is only one way to write a manifest."""
    return fsio.canonical_json({**value, "digest": _digest(value)}, indent=2) + "\n"
