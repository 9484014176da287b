"""What a place holds, as one digest: of a published output its manifest's, of files their bytes'.

Files are hashed once: `hashes.jsonl` in the recipe's folder keeps SHA-256 by path, size and time of change.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from animetune import checkpoint, fsio, remote
from animetune.config import shipped_configs
from animetune.errors import DataError
from animetune.manifest import MANIFEST_NAME, has_manifest, parse_manifest, read_manifest
from animetune.recipe.stages import Read

HASHES_NAME = "hashes.jsonl"
MADE = ("builtin:", "random:")
"""What the names of weights begin with that come with animetune."""


class Digests:
    """Digests of places, remembered in `folder` if there is one."""

    def __init__(self, folder: Path | None = None, *, writes: bool = True, copies: Mapping[str, Path] | None = None):
        """`copies`: URL -> folder of this machine with the manifest of what is there."""
        self._file = folder and folder / HASHES_NAME
        self._writes = writes
        self._copies = copies or {}
        lines = fsio.read_lines(self._file) if self._file else []
        self._known = {_file_key(line): str(line["sha256"]) for line in lines}

    def of(self, read: Read) -> str | None:
        """What is read, None where nothing is. A hub id, and what comes with animetune, stand for themselves."""
        if read.kind == "source":
            return self._of_source(read.place)
        if read.place in self._copies:
            return output_digest(self._copies[read.place])
        if remote.is_remote(read.place):
            return _remote_digest(read.place)
        path = Path(remote.without_file_scheme(read.place))
        if not path.exists():
            return self._elsewhere(read)
        if path.is_file():
            return self._sha256(path)
        return output_digest(path) or self._of_files(path, weights_in(path) if read.kind == "weights" else below(path))

    def _elsewhere(self, read: Read) -> str | None:
        if read.kind == "weights":
            return read.place if read.place.startswith(MADE) or may_be_on_hub(read.place) else None
        shipped = shipped_configs() / read.place
        return self.of(Read(read.keys, str(shipped), read.kind)) if read.kind == "file" and shipped.exists() else None

    def _of_source(self, pattern: str) -> str | None:
        """Of posts: files by their bytes; folders and tars, which hold pictures, by names, sizes and times."""
        path = Path(pattern)
        if path.is_dir():
            return output_digest(path) or _joined(f"{file.relative_to(path)} {_state(file)}" for file in below(path))
        files = [Path(name) for name in remote.find_files(pattern)]
        each = (f"{file.name} {_state(file) if file.suffix == '.tar' else self._sha256(file)}" for file in files)
        return _joined(each) if files else None

    def _of_files(self, folder: Path, files: Iterable[Path]) -> str:
        return _joined(f"{file.relative_to(folder)} {self._sha256(file)}" for file in files)

    def _sha256(self, file: Path) -> str:
        found = file.stat()
        line: dict[str, Any] = {
            "path": os.path.abspath(file),
            "bytes": found.st_size,
            "mtime_ns": found.st_mtime_ns,
        }
        key = _file_key(line)
        if key not in self._known:
            self._known[key] = line["sha256"] = fsio.sha256_file(file)
            if self._file and self._writes:
                fsio.append_line(self._file, line)
        return self._known[key]


def output_digest(folder: Path) -> str | None:
    """Of what a stage published: its manifest's digest; of a run that of its newest checkpoint. None for any other."""
    newest = checkpoint.steps(folder / "checkpoints")[-1:]
    place = newest[0] if newest else folder
    return read_manifest(place).digest if has_manifest(place) else None


def made_digest(folder: Path, stage: str) -> str | None:
    """As `output_digest`, but None where the stage has not finished what is there, or something is damaged."""
    try:
        if not has_manifest(folder):
            return None
        manifest = read_manifest(folder)
        newest = [path.name for path in checkpoint.steps(folder / "checkpoints")[-1:]]
        if stage == "train" and newest != [manifest.facts.get("checkpoint")]:
            return None
        return output_digest(folder)
    except DataError:
        return None


def may_be_on_hub(name: str) -> bool:
    """Whether this may be `owner/name` of the model hub, and not a path whose end is missing."""
    owner, slash, rest = name.partition("/")
    is_id = bool(slash and owner and rest) and "/" not in rest and not owner.startswith((".", "~"))
    return is_id and not Path(owner).is_dir() and Path(rest).suffix not in (".safetensors", ".ckpt", ".pt", ".bin")


def below(folder: Path) -> list[Path]:
    """All files at any depth, by name."""
    return sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names)


def weights_in(folder: Path) -> list[Path]:
    """Those files of a diffusers folder, or of a network's, that weights are read from."""
    files = [*folder.glob("*.json"), *folder.glob("*/*.json"), *folder.glob("*.safetensors")]
    if not (folder / "config.json").is_file():  # beside the folders of networks lie single files, which are not read
        files = [*folder.glob("*/*.json")]
    return sorted({*files, *folder.glob("*/*.safetensors")})


def _remote_digest(url: str) -> str | None:
    place = f"{url.rstrip('/')}/{MANIFEST_NAME}"
    return parse_manifest(remote.read(place), url).digest if remote.exists(place) else None


def _state(file: Path) -> str:
    found = file.stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def _joined(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()


def _file_key(line: Mapping[str, Any]) -> tuple[str, int, int]:
    return str(line["path"]), int(line["bytes"]), int(line["mtime_ns"])
