"""Pictures as they are sent: opened when their turn comes, scaled down, encoded; in threads, since Pillow lets go of
the interpreter while it decodes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from animetune.curate.caption.requests import PictureRef
from animetune.curate.config.captions import SentPictureConfig
from animetune.curate.config.pictures import PicturesConfig
from animetune.pictures import open_picture


def encode(image: Image.Image, form: SentPictureConfig) -> bytes:
    """An RGB picture with its longest side at most `form.side`, encoded."""
    scale = form.side / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    stream = io.BytesIO()
    image.save(stream, form.format, **({} if form.format == "PNG" else {"quality": form.quality}))
    return stream.getvalue()


class PictureEncoder:
    """Opens and encodes on a few threads; at most one picture a request that waits for an answer is in memory."""

    def __init__(self, cfg: PicturesConfig, threads: int | None = None):
        self._cfg = cfg
        self._threads = ThreadPoolExecutor(threads or min(16, os.cpu_count() or 1), "caption-pictures")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def __call__(self, picture: PictureRef) -> bytes:
        """The encoded picture. Raises PictureError, and what a network raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._encode, picture)

    def _encode(self, picture: PictureRef) -> bytes:
        opened = open_picture(picture.url, background=self._cfg.background, max_pixels=self._cfg.max_pixels)
        return encode(opened.image, picture.form)


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
