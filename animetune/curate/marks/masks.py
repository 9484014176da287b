"""Masks of marks: white where the loss counts, black over what was found; with the mask that the picture has already.

Files lie beside the answers, named by what they show: writing one twice writes the same bytes.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image, ImageChops, ImageDraw

from animetune import fsio, tables
from animetune.curate.answers import QUESTION, Inquiry, question_of
from animetune.errors import PictureError
from animetune.picture_urls import Region
from animetune.pictures import decode_mask, read_image

_NAME = "mark-masks"
_SETTINGS = {"format": 1}
BLACK, WHITE = 0, 255
ASKED: dict[str, pl.DataType] = {
    "key": pl.String(),
    QUESTION: pl.UInt64(),
    "width": pl.Int32(),
    "height": pl.Int32(),
    "blank": pl.List(pl.List(pl.Int32())),
    "of_source": pl.String(),
}
"""Of a question: size of the whole picture; regions of it that do not count; the mask that it has, if any."""
ANSWER: dict[str, pl.DataType] = {"file": pl.String()}
"""Name of the file; null for a source's mask that cannot be used, which stays as it is: `shard` says what is wrong."""


def masks_of_marks(answers: Path, max_pixels: int) -> Inquiry:
    """Has the masks drawn; an answer names the file in `files_of`."""
    draw = functools.partial(draw_all, files=files_of(answers), max_pixels=max_pixels)
    return Inquiry(_NAME, _SETTINGS, draw, ANSWER, 128)


def files_of(answers: Path) -> Path:
    """The folder of the masks."""
    folder = Inquiry(_NAME, _SETTINGS, pl.DataFrame, ANSWER).folder(answers)
    return folder.with_name(f"{folder.name}-files")


def question(size: tuple[int, int], blank: Sequence[Region], of_source: str | None) -> int:
    """The number of a question."""
    return question_of(list(size), [list(region) for region in blank], of_source)


def draw_all(questions: pl.DataFrame, files: Path, max_pixels: int) -> pl.DataFrame:
    """In a worker process: draw masks and write them."""
    answers: list[dict[str, Any]] = []
    for number, width, height, blank, of_source in questions.select(
        QUESTION, "width", "height", "blank", "of_source"
    ).iter_rows():
        regions = [Region(*region) for region in blank]
        try:
            mask = draw((width, height), regions, of_source, max_pixels)
        except PictureError:
            answers.append({QUESTION: number, "file": None})
            continue
        name = f"{number:016x}.png"
        stream = io.BytesIO()
        mask.save(stream, format="PNG", compress_level=9)
        fsio.atomic_write(files / name, stream.getvalue())
        answers.append({QUESTION: number, "file": name})
    return tables.frame(answers, {QUESTION: pl.UInt64(), **ANSWER})


def draw(size: tuple[int, int], blank: Sequence[Region], of_source: str | None, max_pixels: int) -> Image.Image:
    """The mask of a picture of this size, mode L: that of its source times 0 in the blank regions.

    A source's mask of another scale is brought to the picture's. Raises PictureError for one that cannot be used.
    """
    if of_source is None:
        mask = Image.new("L", size, WHITE)
    else:
        mask = decode_mask(read_image(of_source), max_pixels=max_pixels)
        if abs(mask.width * size[1] - mask.height * size[0]) >= size[0] + size[1]:
            raise PictureError("mask_ratio")
        if mask.size != size:
            smaller = mask.width >= size[0]
            mask = mask.resize(size, Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR)
    drawn = Image.new("L", size, WHITE)
    pen = ImageDraw.Draw(drawn)
    for left, top, width, height in blank:
        if width > 0 and height > 0:
            pen.rectangle((left, top, left + width - 1, top + height - 1), fill=BLACK)
    return ImageChops.multiply(mask, drawn)


def around(content: Region, size: tuple[int, int]) -> list[Region]:
    """The borders around a picture's content."""
    left, top, right, bottom = content.corners
    width, height = size
    borders = (
        Region(0, 0, width, top),
        Region(0, bottom, width, height - bottom),
        Region(0, top, left, content.height),
        Region(right, top, width - right, content.height),
    )
    return [border for border in borders if border.width > 0 and border.height > 0]
