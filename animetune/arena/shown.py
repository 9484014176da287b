"""Pictures as voters get them: the pixels, and nothing that tells whose they are.

Every picture is decoded and written anew by one encoder with one setting, whatever its file was: no text chunks, no
EXIF, no profile, no trace of PNG, WebP or JPEG but in the pixels themselves.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict

from PIL import Image

from animetune.arena.battles import Stale
from animetune.arena.gallery import Gallery
from animetune.errors import PictureError
from animetune.pictures import decode

MEDIA_TYPE = "image/png"
COMPRESSION = 3
"""Of zlib: higher ones take twice the time of a picture to save a tenth of its bytes."""
MAX_KEPT = 256 * 1024 * 1024
"""Bytes of pictures that are kept in memory; those not asked for longest go first."""

_DECODING = threading.Lock()  # `decode` is for one thread at a time


class ShownPictures:
    """A gallery's pictures as PNG. Threads may share it."""

    def __init__(self, gallery: Gallery, max_kept: int = MAX_KEPT):
        self._gallery = gallery
        self._max_kept = max_kept
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def png(self, picture: int) -> bytes:
        """The picture of an id. Stale where its file is gone, has changed or cannot be decoded."""
        self._gallery.check(picture)
        with self._lock:
            if picture in self._kept:
                self._kept.move_to_end(picture)
                return self._kept[picture]
        data = self._encoded(picture)
        with self._lock:
            if picture not in self._kept:
                self._kept[picture] = data
                self._size += len(data)
            while self._size > self._max_kept and len(self._kept) > 1:
                self._size -= len(self._kept.popitem(last=False)[1])
        return data

    def _encoded(self, picture: int) -> bytes:
        raw = self._gallery.read(picture)
        try:
            with _DECODING:
                image = decode(raw, first_frame=True).image
        except PictureError as error:
            self._gallery.drop(picture, f"cannot be decoded ({error})")
            raise Stale("a picture of this battle cannot be shown; ask for the next battle") from error
        return bare_png(image)


def bare_png(image: Image.Image) -> bytes:
    """An RGB picture as PNG with the chunks IHDR, IDAT and IEND alone."""
    bare = Image.frombytes("RGB", image.size, image.convert("RGB").tobytes())  # what `info` held stays behind
    buffer = io.BytesIO()
    bare.save(buffer, "PNG", compress_level=COMPRESSION)
    return buffer.getvalue()
