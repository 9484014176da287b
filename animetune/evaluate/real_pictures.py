"""Real pictures of a folder, with their captions where they have any.

a folder of `animetune sample`      its index
one with an `images.jsonl`          file, and prompt if it is known
any other                           every picture below, and the .txt of its name beside it
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from animetune import samples
from animetune.curate.read.formats.beside import list_folder
from animetune.curate.read.formats.names import is_picture
from animetune.errors import DataError, SetupError
from animetune.manifest import has_manifest


class RealPicture(NamedTuple):
    """A picture to compare with."""

    name: str
    """Names it within its folder, with slashes."""
    file: Path
    caption: str
    """Empty where none is known."""


def read_real(folder: Path, setting: str) -> list[RealPicture]:
    """All pictures, in order of name; `setting` names the folder in messages.

    Raises SetupError for a folder that is not there, DataError for one without pictures or with an index that cannot be
    read.
    """
    if not folder.is_dir():
        raise SetupError(f"{setting}: {folder}: there is no such folder")
    if has_manifest(folder):
        found = [
            RealPicture(each.file.relative_to(folder).as_posix(), each.file, each.request.prompt)
            for each in samples.read(folder)
        ]
    elif (folder / samples.INDEX_NAME).is_file():
        found = list(_indexed(folder, setting))
    else:
        found = list(_plain(folder))
    if not found:
        raise DataError(f"{setting}: {folder}: has no pictures")
    return sorted(found)


def _plain(folder: Path) -> Iterator[RealPicture]:
    names = list_folder(folder)
    known = set(names)
    for name in names:
        if is_picture(name):
            beside = f"{name.rpartition('.')[0]}.txt"
            yield RealPicture(name, folder / name, _caption(folder / beside) if beside in known else "")


def _indexed(folder: Path, setting: str) -> Iterator[RealPicture]:
    index = folder / samples.INDEX_NAME
    for number, line in enumerate(index.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{setting}: {index}:{number}"
        try:
            values = json.loads(line)
            name, caption = values["file"], values.get("prompt", "")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{place}: is no line of a picture ({error!r}); it needs `file`") from error
        if not isinstance(name, str) or not isinstance(caption, str):
            raise DataError(f"{place}: file and prompt: should be texts")
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{place}: file: {name!r} leads out of the folder")
        if not file.is_file():
            raise DataError(f"{place}: {file}: there is no such file; restore it, or remove the line")
        yield RealPicture(name, file, " ".join(caption.split()))


def _caption(file: Path) -> str:
    try:
        return " ".join(file.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as UTF-8 text ({error}); save it as UTF-8") from error
