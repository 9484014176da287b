"""The files that a configuration names: found, hashed, and their format told."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from animetune import fsio
from animetune.curate.config.sources import SourceConfig
from animetune.curate.read.formats import beside, format_of_object, format_of_record, hakubooru, readers
from animetune.errors import DataError
from animetune.manifest import MANIFEST_NAME
from animetune.samples import INDEX_NAME

METADATA_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""What Hugging Face's image folders call their file of records."""
_BEFORE_A_STAR = re.compile(r"[^*?\[]*")


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of posts or captions, or a folder of pictures."""

    kind: Literal["posts", "captions"]
    source: SourceConfig
    path: Path
    number: int
    """Place in the order of the configuration, over all sources."""
    digest: str
    """SHA-256 of what its records depend on: of its bytes, but not of those of pictures."""
    format: str = "danbooru"
    """A name of `formats.FORMATS`."""
    prefix: str = ""
    """Its folders below the part of the pattern before the first `*`, each with a slash: what tells apart files of one
    name in the ids of records that have none."""

    @property
    def label(self) -> str:
        """Its name in manifests and details: no folder but those of `prefix`; others may differ between machines."""
        return f"{self.source.name}:{self.prefix}{self.path.name}"


def find_files(sources: Sequence[SourceConfig]) -> list[InputFile]:
    """Every file that the sources name. Raises DataError, naming the setting, for one that is absent or not usable."""
    found: list[InputFile] = []
    for source in sources:
        kinds: tuple[tuple[Literal["posts", "captions"], Iterable[str]], ...] = (
            ("posts", source.posts), ("captions", source.captions),
        )  # fmt: skip
        for kind, patterns in kinds:
            for pattern in patterns:
                where = f"sources: {source.name}: {kind}: {pattern}"
                for path in _matching(pattern, where):
                    prefix = _prefix(path, pattern)
                    if kind == "captions":
                        if path.is_dir():
                            raise DataError(f"{where}: is a folder; name files of JSON lines")
                        found.append(InputFile(kind, source, path, len(found), fsio.sha256_file(path)))
                    else:
                        found.append(_posts(source, path, len(found), prefix, where))
    return found


def _posts(source: SourceConfig, path: Path, number: int, prefix: str, where: str) -> InputFile:
    path = _records_of(path, source.format, where)
    how = readers.layout(path)
    name = source.format if source.format != "auto" else _told(path, how)
    if how == "folder" and name == "gallery-dl":  # where it has put its files
        name = "folder"
    if (how == "folder") != (name == "folder"):
        raise DataError(f"{where}: format {name} is of {'folders' if name == 'folder' else 'files'}, and this is none")
    if (how == "tar") != (name == "webdataset"):
        raise DataError(f"{where}: format webdataset is of .tar files, and only that can read them")
    digest = {"folder": beside.folder_digest, "tar": beside.tar_digest}.get(how, fsio.sha256_file)(path)
    if name == "hakubooru" and how == "parquet":
        digest = fsio.short_digest("".join([digest, *map(fsio.sha256_file, hakubooru.tables_beside(path))]))
    return InputFile("posts", source, path, number, digest, name, prefix)


def _records_of(path: Path, asked: str, where: str) -> Path:
    """The file that holds the records of a folder that has one: a Hugging Face image folder, pictures that we drew."""
    if not path.is_dir() or asked == "folder":
        return path
    if asked in ("auto", "samples") and (path / INDEX_NAME).is_file() and (path / MANIFEST_NAME).is_file():
        return path / INDEX_NAME
    if asked in ("auto", "metadata") and (found := [path / name for name in METADATA_NAMES if (path / name).is_file()]):
        return found[0]
    if asked not in ("auto", "folder", "gallery-dl"):
        raise DataError(f"{where}: is a folder; name the files of posts in it, or set format: folder")
    return path


def _told(path: Path, how: str) -> str:
    if how in ("folder", "tar"):
        return {"folder": "folder", "tar": "webdataset"}[how]
    if how == "json" and readers.begins_with_object(path):
        value = readers.json_object(path)
        return format_of_object(value) or format_of_record(readers.listed(value)[0] if value else None)
    return format_of_record(readers.first_record(path))


def _matching(pattern: str, where: str) -> Iterator[Path]:
    if os.path.exists(pattern):
        yield Path(pattern)
        return
    paths = sorted(map(Path, glob.glob(pattern, recursive=True)))
    paths = [path for path in paths if path.is_file()] or paths  # `**` also matches the folders on the way
    if not paths:
        raise DataError(f"{where}: there is no such file")
    yield from paths


def _prefix(path: Path, pattern: str) -> str:
    fixed = _BEFORE_A_STAR.match(pattern)
    if fixed is None or fixed[0] == pattern:
        return ""
    folder = path if path.is_dir() else path.parent
    below = os.path.relpath(folder, os.path.dirname(fixed[0]) or ".").replace(os.sep, "/")
    return "" if below == "." else f"{below}/"
