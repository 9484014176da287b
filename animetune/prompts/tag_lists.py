"""Lists of tags in a configuration: written out, or a file with a tag a line.

The resolved configuration names a file together with its hash, `lists/names.txt@sha256:0a1b2c3d4e5f6071`, so that it
stays short, and so that a run is neither resumed nor repeated with another list of the same name.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Annotated

import pydantic

_PIN = "@sha256:"
_DIGITS = 16


def pinned(value: frozenset[str] | str) -> frozenset[str] | str:
    """The value, a path with the hash of what it holds.

    Raises ValueError when there is no such file, when it lists nothing, or when it is not the one that was pinned.
    """
    if not isinstance(value, str):
        return value
    path, _, expected = value.partition(_PIN)
    found = _digest(_read(path))
    if expected and found != expected:
        raise ValueError(
            f"{path}: has changed since (SHA-256 {found}..., not {expected}...); restore it, or write the path alone "
            "to take the file as it is now"
        )
    pin = f"{path}{_PIN}{found}"
    _listed(pin)
    return pin


TagList = Annotated[frozenset[str] | str, pydantic.AfterValidator(pinned)]
"""A list of tags, or the path of a text file with a tag a line; lines that begin with `# ` are comments."""


def tags_in(value: frozenset[str] | str) -> frozenset[str]:
    """The tags of a `TagList`."""
    return _listed(value) if isinstance(value, str) else value


@functools.lru_cache(maxsize=64)
def _listed(pin: str) -> frozenset[str]:
    """The tags of a file, once per process for each of its contents."""
    path, _, expected = pin.partition(_PIN)
    data = _read(path)
    if _digest(data) != expected:
        raise ValueError(f"{path}: is being changed; start again when it is not")
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text; save the file as UTF-8") from error
    tags = frozenset(line for line in lines if line and line != "#" and not line.startswith("# "))
    if not tags:
        raise ValueError(f"{path}: lists no tag; write one a line")
    return tags


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path}: the file of tags cannot be read ({error.strerror}); for a list write [{path}]"
        ) from error
