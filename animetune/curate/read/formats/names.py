"""Records that are known by a file's name: their ids, and where their pictures are."""

from __future__ import annotations

import xxhash

from animetune.curate.read.fields import RecordError, shown
from animetune.curate.read.posts import join_path

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp")
"""Of files that are taken for pictures, in the order in which they are looked for."""
OTHER_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".swf", ".zip", ".rar", ".psd")
"""Of what sites have beside pictures. Any other end of a name may be part of a stem: `1.v2` of `1.v2.png`."""


def hash_id(name: str) -> int:
    """A stable id of 63 bits for a record that has none: xxh64 of its relative path.

    Two of seven million names share one with a probability of 3 in a million; the second is then quarantined `dup_id`.
    """
    return xxhash.xxh64_intdigest(plain_name(name).encode()) >> 1


def plain_name(name: str) -> str:
    """A relative path with slashes, without `./` in front."""
    name = name.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return name


def is_picture(name: str) -> bool:
    """Whether a file is taken for a picture, by its name."""
    return name.lower().endswith(PICTURE_SUFFIXES)


def places(folder: str, name: str) -> list[str]:
    """Where the picture of that name is that lies in `folder`; a name without a suffix may have any.

    Raises RecordError (bad_path) for one outside.
    """
    relative = plain_name(name)
    if relative.startswith(f"{plain_name(folder)}/"):
        relative = relative[len(plain_name(folder)) + 1 :]
    if relative.startswith("/") or relative[1:3] == ":/":
        raise RecordError(
            "bad_path",
            f"{shown(name)} is not below {folder}; say where pictures are, as in images: path: '{{basename}}'",
        )
    is_whole = is_picture(relative) or relative.lower().endswith(OTHER_SUFFIXES)
    names = [relative] if is_whole else [f"{relative}{suffix}" for suffix in PICTURE_SUFFIXES]
    return [join_path(folder, each) for each in names]
