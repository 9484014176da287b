"""Folders of pictures with files beside them, and tars of the same, as kohya's scripts, gallery-dl, waifuc and
WebDataset have them.

    1.png  1.txt  1.caption  1.png.json  1.json  .1_meta.json      one picture and its sidecars
    10_sunset/1.png                                                 of kohya: `sunset` where there is no text
    data-0000.tar: 0001.webp, 0001.txt, 0001.json                   one sample

A tar is only indexed: pictures are read at their offset, so it has to be uncompressed.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from animetune.curate.read.fields import MAX_LINE, RecordError
from animetune.curate.read.formats.names import PICTURE_SUFFIXES, is_picture
from animetune.curate.read.formats.readers import BOM, Raw
from animetune.curate.read.json_text import parse_json
from animetune.errors import DataError

TEXT_SUFFIXES = (".txt", ".caption")
SIDECAR_SUFFIXES = (*TEXT_SUFFIXES, ".json")
_KOHYA_FOLDER = re.compile(r"\d+_(.+)")
_WAIFUC = re.compile(r"\.(.+)_meta\.json")


def list_folder(root: Path) -> list[str]:
    """Relative paths, with slashes, of all files below a folder that are pictures or may stand beside one, sorted."""
    found = []
    for folder, folders, names in os.walk(root):
        folders.sort()
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        found += [f"{prefix}{name}" for name in names if is_picture(name) or _is_sidecar(name)]
    return sorted(found)


def folder_records(root: Path) -> list[tuple[str, ...]]:
    """The records of a folder, in order: (picture or file that has none, sidecars ...)."""
    names = list_folder(root)
    pictures = [name for name in names if is_picture(name)]
    by_stem: dict[str, str] = {}
    for name in pictures:
        by_stem.setdefault(_stem(name), name)
    beside: dict[str, list[str]] = {name: [] for name in pictures}
    for name in names:
        if not is_picture(name):
            beside.setdefault(_picture_of(name, beside, by_stem) or name, []).append(name)
    return [(name, *sidecars) for name, sidecars in sorted(beside.items())]


def folder_digest(root: Path) -> str:
    """SHA-256 of what a folder's records depend on: the names of all files, and what the sidecars say."""
    digest = hashlib.sha256()
    for name in list_folder(root):
        digest.update(f"{name}\0".encode(errors="surrogateescape"))
        if not is_picture(name):
            with open(f"{root}/{name}", "rb", buffering=0) as stream:
                digest.update(hashlib.sha256(stream.readall()).digest())
    return digest.hexdigest()


def read_folder(root: Path, records: Sequence[tuple[str, ...]], first: int) -> Iterator[Raw]:
    """Some of the records of a folder; `first` is the number of the first of them."""
    for index, (name, *sidecars) in enumerate(records, start=first):
        where = _shown_name(name)
        if not is_picture(name) and not _is_json(name):
            yield Raw(index, where, RecordError("no_picture", "there is no picture of this name beside it"))
            continue
        if _shown_name(name) != name:
            yield Raw(index, where, RecordError("bad_unicode", "the file's name is not UTF-8"))
            continue
        if not is_picture(name):
            name = _named_by(name)
        yield _together(Raw(index, where, {}, name), sidecars, lambda sidecar: _read_small(f"{root}/{sidecar}"))


def tar_digest(path: Path) -> str:
    """SHA-256 of what a tar's records depend on: names, places and sizes of all members, and what its texts say."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for name, offset, length in tar_members(path):
            digest.update(f"{name}\0{offset}\0{length}\0".encode(errors="surrogateescape"))
            if _is_sidecar(name):
                digest.update(_part(stream, offset, length))
    return digest.hexdigest()


def tar_members(path: Path) -> Iterator[tuple[str, int, int]]:
    """(name, offset, length) of every file in a tar, in order. Raises DataError for a compressed or damaged one."""
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    if member.offset_data + member.size > size:
                        raise tarfile.ReadError(f"it ends before {member.name!r} does")
                    yield member.name, member.offset_data, member.size
                tar.members = []  # type: ignore[attr-defined] # it would keep all of them
    except (tarfile.TarError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: is no uncompressed tar, or is damaged: {error}; decompress it, or copy it again"
        ) from error


def read_tar(path: Path) -> Iterator[Raw]:
    """The samples of a tar: members whose names are equal up to the first dot, in the order of their first."""
    samples: dict[str, list[tuple[str, int, int]]] = {}
    for name, offset, length in tar_members(path):
        folder, slash, base = name.rpartition("/")
        key, dot, suffix = base.partition(".")
        if dot and key:
            samples.setdefault(f"{folder}{slash}{key}", []).append((suffix.lower(), offset, length))
    with path.open("rb") as stream:
        for index, (key, members) in enumerate(samples.items()):
            yield _sample(path, stream, index, key, members)


def _sample(path: Path, stream: Any, index: int, key: str, members: list[tuple[str, int, int]]) -> Raw:
    where = _shown_name(key)
    pictures = [member for member in members if is_picture(f".{member[0]}")]
    if where != key:
        return Raw(index, where, RecordError("bad_unicode", "the member's name is not UTF-8"))
    if not pictures:
        return Raw(index, where, RecordError("no_picture", f"only {', '.join(sorted(each[0] for each in members))}"))
    # The one named for nothing but its format, if there is one: `1.seg.png` is no picture of `1.jpg`.
    suffix, offset, length = min(pictures, key=lambda each: ("." in each[0], pictures.index(each)))
    member = re.sub(r"[!\x00-\x1f\x7f\u2028\u2029\x85]", "_", f"{key}.{suffix}")
    texts = {f"{key}.{name}": (at, size) for name, at, size in members if f".{name}" in SIDECAR_SUFFIXES}
    number = key.rpartition("/")[2]
    value = {"id": int(number)} if re.fullmatch("[0-9]{1,18}", number) else {}
    raw = Raw(index, where, value, key, place=f"{path}!{member}@{offset}+{length}")
    return _together(raw, list(texts), lambda name: _part(stream, *texts[name]))


def _together(raw: Raw, sidecars: Sequence[str], read: Callable[[str], bytes]) -> Raw:
    """The record of a picture: its JSON files, one over the other, and its texts."""
    value: dict[str, Any] = dict(raw.value)
    texts: list[str] = []
    for sidecar in sidecars:
        try:
            data = read(sidecar)
            if len(data) > MAX_LINE:
                raise RecordError("bad_json", f"is longer than {MAX_LINE} bytes")
            if _is_json(sidecar):
                found = parse_json(data.removeprefix(BOM))
                if not isinstance(found, dict):
                    raise RecordError("bad_record", "is not a JSON object")
                value |= found
            else:
                texts.append(data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            return raw._replace(value=RecordError("bad_unicode", f"{sidecar}: byte {error.start} is not UTF-8"))
        except RecordError as error:
            return raw._replace(value=RecordError(error.code, f"{sidecar}: {error.detail}"))
        except OSError as error:
            return raw._replace(value=RecordError("bad_record", f"{sidecar}: cannot be read: {error.strerror}"))
    if not sidecars and raw.name and (kohya := _KOHYA_FOLDER.fullmatch(raw.name.rpartition("/")[0].rpartition("/")[2])):
        texts.append(kohya[1])
    return raw._replace(value=value, texts=tuple(texts))


def _picture_of(sidecar: str, pictures: dict[str, list[str]], by_stem: dict[str, str]) -> str | None:
    """The picture that a file stands beside: `1.png` of `1.png.json`, `1.json`, `1.txt`, `.1_meta.json`."""
    whole = sidecar.rpartition(".")[0]
    if is_picture(whole) and whole in pictures:
        return whole
    folder, slash, base = sidecar.rpartition("/")
    if waifuc := _WAIFUC.fullmatch(base):
        whole = f"{folder}{slash}{waifuc[1]}"
    return by_stem.get(whole)


def _named_by(sidecar: str) -> str:
    """The name of the picture that a JSON file without one beside it speaks of."""
    whole = sidecar[: -len(".json")]
    folder, slash, base = sidecar.rpartition("/")
    return f"{folder}{slash}{waifuc[1]}" if (waifuc := _WAIFUC.fullmatch(base)) else whole


def _is_sidecar(name: str) -> bool:
    """Whether a file may stand beside a picture, by its name."""
    return name.lower().endswith(SIDECAR_SUFFIXES)


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _stem(name: str) -> str:
    return name[: -len(next(suffix for suffix in PICTURE_SUFFIXES if name.lower().endswith(suffix)))]


def _shown_name(name: str) -> str:
    return name.encode(errors="replace").decode()


def _read_small(path: str) -> bytes:
    """At most MAX_LINE + 1 bytes. Unbuffered, nor asked for more than there is: each costs as much as the reading."""
    with open(path, "rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        return stream.readall() if size <= MAX_LINE else stream.read(MAX_LINE + 1)


def _part(stream: Any, offset: int, length: int) -> bytes:
    stream.seek(offset)
    return bytes(stream.read(min(length, MAX_LINE + 1)))
