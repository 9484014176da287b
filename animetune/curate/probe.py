"""What is found in one picture, from one decode. Runs in the child process of `isolation`: imports no Polars."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xxhash
from PIL import Image

from animetune.borders import ContentBox, content_box
from animetune.errors import PictureError
from animetune.pictures import Picture, cut_picture, decode, read_image

MISSING = "image_missing"
NO_CANDIDATE = "the post lacks what the path of `images` needs"
"""Detail of a picture that is missing because nothing says where it would be."""

OF_CONTENT = ("content_digest", "content_dhash")
"""What `pixel_digest` and `dhash` are without the borders; null for a picture that has none."""
HASH_SIDE = 16
_CELL = 16
"""A larger picture is first reduced, by whole factors, to no fewer pixels than this on each side of a cell of the hash:
a third of the cost, for which a cell may take in a sixteenth of its neighbour."""


class Question(NamedTuple):
    """Which picture is looked at, and how it is decoded."""

    candidates: Sequence[str]
    md5: str | None
    """Of the file, as its post states it."""
    background: tuple[int, int, int]
    max_pixels: int
    first_frame: bool
    check_md5: bool
    """Refuse a file of another MD5."""


def look_at(question: Question, read: tuple[str, bytes] | None = None) -> Mapping[str, Any]:
    """What is found in the first of the candidates that is there; `read` is its URL and bytes, where they are known.

    Raises PictureError, and what `read_image` raises.
    """
    url, data = read or read_first(question.candidates)
    is_original = question.md5 is None or hashlib.md5(data, usedforsecurity=False).hexdigest() == question.md5
    if question.check_md5 and not is_original:
        raise PictureError("md5_mismatch", f"{url}: the post states {question.md5}")
    try:
        picture = decode(
            data,
            background=question.background,
            max_pixels=question.max_pixels,
            first_frame=question.first_frame,
        )
        picture = cut_picture(picture, url)
        found = {**_facts(picture), **_pixel_facts(picture.image)}
    except PictureError as error:
        raise PictureError(error.code, f"{url}: {error.detail}".removesuffix(": ")) from error
    except MemoryError as error:
        raise PictureError("out_of_memory", url) from error
    return {"image": url, "image_bytes": len(data), "is_original": is_original, **found}


def read_first(candidates: Sequence[str]) -> tuple[str, bytes]:
    """(url, bytes) of the first candidate that is there. Raises PictureError."""
    for url in candidates:
        try:
            return url, read_image(url)
        except PictureError as error:
            if error.code != MISSING:
                raise
    raise PictureError(MISSING, ", ".join(candidates) or NO_CANDIDATE)


def _facts(picture: Picture) -> dict[str, Any]:
    return {
        "width": picture.image.width,
        "height": picture.image.height,
        "image_format": picture.format,
        "had_alpha": picture.had_alpha,
        "pixel_mode": picture.mode,
        "colour_profile": picture.profile,
        "rotated": picture.rotated,
        "focus_x": None,  # `marks` and `closeups` look for one
        "focus_y": None,
    }


def _pixel_facts(image: Image.Image) -> dict[str, Any]:
    """What is told by the pixels themselves, of which there is one more copy, for all of it."""
    data = image.tobytes()
    pixels = np.frombuffer(data, np.uint8).reshape(image.height, image.width, 3)
    box = content_box(pixels)
    inner: dict[str, Any] = dict.fromkeys(OF_CONTENT)
    if box is not None:
        content = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
        inner = dict(
            zip(OF_CONTENT, (pixel_digest(content.size, content.tobytes()), difference_hash(content)), strict=True)
        )
    return {
        "pixel_digest": pixel_digest(image.size, data),
        "dhash": difference_hash(image),
        **inner,
        **{f"content_{name}": None if box is None else getattr(box, name) for name in ContentBox._fields},
    }


def pixel_digest(size: tuple[int, int], data: bytes) -> str:
    """XXH3-128 of size and RGB bytes: equal for equal pictures, however they are encoded.

    MD5 would take as long as decoding a JPEG does: 10 ms for 3 megapixels, where this takes less than one.
    """
    digest = xxhash.xxh3_128(f"{size[0]}x{size[1]}".encode())
    digest.update(data)
    return digest.hexdigest()


def difference_hash(image: Image.Image) -> bytes:
    """256 bits, 32 bytes: of similar pictures most are equal ("dHash", N. Krawetz, 2013).

    The picture is averaged over 17 columns and 16 rows of equal boxes, and its luminance taken (ITU-R BT.601, 8 bits).
    A bit is 1 where the cell on the right is brighter. Bits go along rows, the top row first, from left to right; the
    first bit is the highest of the first byte. So byte 2y + x // 8 has the bit of row y and column x at 7 - x % 8.
    """
    size = (HASH_SIDE + 1, HASH_SIDE)
    cells = image.resize(size, Image.Resampling.BOX, reducing_gap=_CELL).convert("L")
    levels = np.asarray(cells)
    return np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes()
