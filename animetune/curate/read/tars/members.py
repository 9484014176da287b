"""What is in a tar, by its headers: pure functions of a stream that can seek.

Read with the standard library's tarfile, which knows GNU and PAX names and sizes. It takes a damaged header, or the end
of a tar that was cut off, for the end of the tar: so this looks whether the end mark is there.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import polars as pl

MEMBER_SCHEMA = {"member": pl.String(), "offset": pl.Int64(), "length": pl.Int64()}
"""Whole name with slashes, and where its bytes are."""
_BLOCK = 512
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_AT_A_TIME = 65_536


class Members(NamedTuple):
    """The files in a tar, or why it cannot be read."""

    rows: pl.DataFrame
    """MEMBER_SCHEMA, each name once, in the order of the tar."""
    repeated: int = 0
    """Members under a name that a later one has: that one is taken, as when the tar is unpacked."""
    unusable: int = 0
    """Files that cannot be read in place: names that are not UTF-8, sparse ones, links."""
    is_cut: bool = False
    """It ends, or is damaged, before its end mark: what comes before is used."""
    problem: str = ""
    """It is no uncompressed tar, and nothing of it can be used."""


def read_members(stream: Any, size: int) -> Members:
    """The members of a tar of `size` bytes, by its headers."""
    begin = stream.read(_BLOCK)
    stream.seek(0)
    nothing = pl.DataFrame(schema=MEMBER_SCHEMA)
    compression = next((name for magic, name in _COMPRESSIONS.items() if begin.startswith(magic)), None)
    if compression is not None:
        return Members(nothing, problem=f"is compressed ({compression}), so that its pictures cannot be read in place")
    if len(begin) < _BLOCK:
        return Members(nothing, is_cut=True)
    found = _Found(size)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in _each(tar):
                found.add(member)
            end = tar.offset
    except tarfile.ReadError as error:
        if not found.count:
            return Members(nothing, problem=f"is no tar: {error}")
        return found.members(is_cut=True)
    stream.seek(end)
    return found.members(is_cut=found.is_cut or stream.read(_BLOCK) != bytes(_BLOCK))


def plain_name(name: str) -> str:
    """A member's name without `./` in front."""
    while name.startswith("./"):
        name = name[2:]
    return name


def distinct(rows: pl.DataFrame) -> pl.DataFrame:
    """Each name once, the last of equal ones."""
    return rows.unique("member", keep="last", maintain_order=True)


class _Found:
    """The members so far; names are put into Arrow's memory some at a time, a third of that of Python's."""

    def __init__(self, size: int):
        self.size = size
        self.pieces: list[pl.DataFrame] = []
        self.rows: list[tuple[str, int, int]] = []
        self.count = self.unusable = 0
        self.is_cut = False

    def add(self, member: tarfile.TarInfo) -> None:
        self.count += 1
        if member.isdir():
            return
        name = plain_name(member.name)
        if not member.isreg() or member.issparse() or not _is_unicode(name):
            self.unusable += 1
        elif member.offset_data + member.size > self.size:
            self.is_cut = True
        else:
            self.rows.append((name, member.offset_data, member.size))
            if len(self.rows) == _AT_A_TIME:
                self.flush()

    def flush(self) -> None:
        self.pieces.append(pl.DataFrame(self.rows, schema=MEMBER_SCHEMA, orient="row"))
        self.rows = []

    def members(self, *, is_cut: bool) -> Members:
        self.flush()
        rows = pl.concat(self.pieces)
        each_once = distinct(rows)
        return Members(each_once, rows.height - each_once.height, self.unusable, is_cut)


def _each(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        yield member
        tar.members = []  # type: ignore[attr-defined] # it would keep all of them


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
