"""Pictures as they are sent: opened when their turn comes, scaled down, encoded; in threads, since Pillow lets go of
the interpreter while it decodes and scales.

A JPEG that needs no change is sent as it is, without what its file tells beside pixels: to decode and encode it again
would take ten times as long as all else that is done for a request, and lose some of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import warnings
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from PIL import ExifTags, Image

from animetune import picture_urls
from animetune.pictures import cut_picture, decode, read_image
from animetune.vlm.config import SentPictureConfig
from animetune.vlm.requests import PictureRef

_START_OF_SCAN = 0xDA
_BESIDE_PIXELS = (*range(0xE1, 0xEE), 0xEF, 0xFE)
"""Markers of APP1 to APP15 and of comments, but for APP14, by which decoders know how colours are coded."""
_RARE = (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
"""Frames that not all decoders read: lossless, hierarchical, arithmetic coding."""
_END = b"\xff\xd9"


def encode(image: Image.Image, form: SentPictureConfig) -> bytes:
    """An RGB picture with its longest side at most `form.side`, encoded."""
    scale = form.side / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    stream = io.BytesIO()
    image.save(stream, form.format, **({} if form.format == "PNG" else {"quality": form.quality}))
    return stream.getvalue()


def as_it_is(data: bytes, form: SentPictureConfig) -> bytes | None:
    """The JPEG itself where it may be sent in that form, else None.

    It is small enough, RGB or grey, upright, without a colour profile, and no larger than half a byte a pixel (quality
    90 gives a third). Comments, EXIF and whatever else is no part of the pixels is left out.
    """
    if form.format != "JPEG" or data[:3] != b"\xff\xd8\xff":
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as source:
            width, height = source.size
            turned = source.getexif().get(ExifTags.Base.Orientation, 1) != 1
            is_plain = source.format == "JPEG" and source.mode in ("L", "RGB") and "icc_profile" not in source.info
    except Exception:  # of many kinds; `decode` has a name for each
        return None
    if not is_plain or turned or max(width, height) > form.side or 2 * len(data) > max(width * height, 20_000):
        return None
    kept, place = [data[:2]], 2
    while (marker := data[place + 1]) != _START_OF_SCAN:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place] != 0xFF or marker in _RARE or end < place + 4 or end + 4 > len(data):
            return None
        if marker not in _BESIDE_PIXELS:
            kept.append(data[place:end])
        place = end
    end = data.rfind(_END, place)
    return None if end < 0 else b"".join((*kept, data[place : end + len(_END)]))


class Decoding(Protocol):
    """How pictures are decoded before they are encoded."""

    @property
    def background(self) -> tuple[int, int, int]:
        """Red, green, blue behind transparent pixels."""

    @property
    def max_pixels(self) -> int:
        """Larger pictures are refused before they are decoded."""


class PlainDecoding(NamedTuple):
    """As `pictures.decode` does it, where nothing else is said."""

    background: tuple[int, int, int] = (255, 255, 255)
    max_pixels: int = 64_000_000


class PictureEncoder:
    """Opens and encodes on a few threads; at most one picture a request that waits for an answer is in memory."""

    def __init__(self, cfg: Decoding, threads: int | None = None):
        self._cfg = cfg
        self._threads = ThreadPoolExecutor(threads or min(16, os.cpu_count() or 1), "sent-pictures")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def __call__(self, picture: PictureRef) -> bytes:
        """The encoded picture. Raises PictureError, and what a network raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._encode, picture)

    def _encode(self, picture: PictureRef) -> bytes:
        data, form = read_image(picture.url), picture.form
        is_whole = picture_urls.parse(picture.url).region is None
        if is_whole and (unchanged := as_it_is(data, form)) is not None:
            return unchanged
        decoded = decode(
            data,
            background=self._cfg.background,
            max_pixels=self._cfg.max_pixels,
            first_frame=True,
            longest_side=form.side if is_whole else None,
        )
        return encode(cut_picture(decoded, picture.url).image, form)


class HeldPictures:
    """Encodes a picture once, and holds it until it is dropped: its questions come one after the other."""

    def __init__(self, encode: Callable[[PictureRef], Awaitable[bytes]]):
        self._encode = encode
        self._held: dict[str, bytes] = {}

    async def __call__(self, picture: PictureRef) -> bytes:
        """The encoded picture. Raises as what encodes it."""
        if picture.identity not in self._held:
            self._held[picture.identity] = await self._encode(picture)
        return self._held[picture.identity]

    def drop(self, identity: str) -> None:
        """Let go of a picture, where it is held."""
        self._held.pop(identity, None)


@contextlib.contextmanager
def decoding_in_threads() -> Iterator[None]:
    """Let several threads of this process decode at once.

    `pictures.decode` sets warning filters for its own duration, and they are global before Python 3.14: two threads
    would leave each other's behind. Within this block all find, set and restore the same ones.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
