"""Where close-ups may be cut: the boxes of files, those of detectors, and where there are none, what stands out."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from animetune import picture_urls, tables
from animetune.curate.answers import QUESTION, Inquiry, question_of
from animetune.curate.closeups.boxes import BoxFiles
from animetune.curate.closeups.selection import Selection
from animetune.curate.config.closeups import CloseupsConfig
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.detections import ANSWER, asking, asking_detectors, likely, opened, questions_of
from animetune.curate.parts import ROW, Part
from animetune.curate.steps import Workplace
from animetune.picture_urls import Region
from animetune.vision.detectors import Box
from animetune.vision.saliency import salient_boxes

SALIENCY_FORMAT = 1
CONTENT = tuple(f"content_{name}" for name in Region._fields)
READS = (ROW, "key", "image", "pixel_digest", "width", "height", "focus_x", "focus_y", *CONTENT)


@dataclass(frozen=True)
class Finder:
    """Where to look."""

    cfg: CloseupsConfig
    files: BoxFiles
    decoding: PicturesConfig


@dataclass(frozen=True)
class Found:
    """What was found in the pictures of a part."""

    part: Part
    pictures: pl.DataFrame
    """READS of all rows, and `chosen`, bool: whether close-ups may be cut from it."""
    boxes: Mapping[str, Sequence[Box]]
    """Key -> boxes in pixels of the row's picture; of chosen rows only."""
    focus: Mapping[str, tuple[float, float]]
    """Key -> where most stands out, as shares of width and height; of rows that were asked for it and have a place."""


def find(finder: Finder, selection: Selection, at: Workplace) -> Iterator[Found]:
    """What is found in each part, in order. Raises DataError for a picture that cannot be decoded any more."""
    cfg = finder.cfg
    turn = _Turn(finder, selection)
    with contextlib.ExitStack() as asked:
        detected = asked.enter_context(asking_detectors(cfg.detectors, finder.decoding, turn.for_detector, at))
        standing_out = None
        if turn.wants_saliency:
            standing_out = asked.enter_context(asking(salience(finder.decoding), turn.for_saliency, at))
        for part in at.rows.parts:
            turn.begin(part)
            for detector, found in zip(cfg.detectors, next(detected), strict=True):
                turn.take_detections(found, detector.threshold)
            if standing_out is not None:
                turn.take_saliency(next(standing_out)[1])
            yield Found(part, turn.pictures, turn.boxes, turn.focus)


def salience(decoding: PicturesConfig) -> Inquiry:
    """What stands out. A question has `image`."""
    settings = {"format": SALIENCY_FORMAT, "background": list(decoding.background), "max_pixels": decoding.max_pixels}
    return Inquiry("saliency", settings, functools.partial(look_for_saliency, decoding=decoding), ANSWER, 256)


def look_for_saliency(questions: pl.DataFrame, decoding: PicturesConfig) -> pl.DataFrame:
    """In a worker process: the windows that stand out in each picture."""
    answers = [
        {QUESTION: number, "boxes": [box._asdict() for box in salient_boxes(opened(url, decoding))]}
        for number, url in questions.select(QUESTION, "image").iter_rows()
    ]
    return tables.frame(answers, {QUESTION: pl.UInt64(), **ANSWER})


def content_of(row: Mapping[str, Any]) -> Region:
    """The picture of a row without its borders, in its own pixels."""
    if row["content_width"] is None:
        return Region(0, 0, row["width"], row["height"])
    return Region(*(row[name] for name in CONTENT))


class _Turn:
    """One part after the other."""

    def __init__(self, finder: Finder, selection: Selection):
        self._cfg = finder.cfg
        self._files = finder.files.boxes
        self._selection = selection
        self.wants_saliency = self._cfg.saliency or self._cfg.focus == "saliency"
        self.pictures = pl.DataFrame()
        self.boxes: dict[str, list[Box]] = {}
        self.focus: dict[str, tuple[float, float]] = {}

    def begin(self, part: Part) -> None:
        rows = part.read((*READS, *self._selection.reads))
        self.pictures = rows.select(*READS, chosen=self._selection.chosen(rows))
        self.focus = {}
        self.boxes = {}
        images = self.pictures.filter("chosen").select("key", "image")
        for key, image in images.filter(pl.col("key").is_in(list(self._files))).iter_rows():
            region = picture_urls.parse(image).region
            left, top = (region.left, region.top) if region else (0, 0)
            self.boxes[key] = [_moved(box, -left, -top) for box in self._files[key]]

    def for_detector(self, part: Part) -> pl.DataFrame:
        return questions_of(self.pictures.filter("chosen"))

    def take_detections(self, answers: pl.DataFrame, threshold: float) -> None:
        for key, found in answers.select("key", "boxes").iter_rows():
            if boxes := likely(found, threshold):
                self.boxes.setdefault(key, []).extend(boxes)

    def for_saliency(self, part: Part) -> pl.DataFrame:
        wanted = []
        if self._cfg.saliency:
            wanted.append(pl.col("chosen") & ~pl.col("key").is_in(list(self.boxes)))
        if self._cfg.focus == "saliency":
            wanted.append(pl.col("focus_x").is_null() & pl.col("focus_y").is_null())
        rows = self.pictures.filter(pl.any_horizontal(wanted))
        urls = [
            _without_borders(row) for row in rows.select("image", "width", "height", *CONTENT).iter_rows(named=True)
        ]
        numbers = [question_of(url, pixels) for url, pixels in zip(urls, rows["pixel_digest"], strict=True)]
        return rows.select("key", pl.Series(QUESTION, numbers, pl.UInt64()), pl.Series("image", urls, pl.String()))

    def take_saliency(self, answers: pl.DataFrame) -> None:
        rows = answers.join(self.pictures, on="key", how="inner", maintain_order="left")
        for row in rows.iter_rows(named=True):
            content = content_of(row)
            found = likely(row["boxes"], self._cfg.min_saliency)
            boxes = [_moved(box, content.left, content.top) for box in found]
            if not boxes:
                continue
            if self._cfg.saliency and row["chosen"] and row["key"] not in self.boxes:
                self.boxes[row["key"]] = boxes
            if self._cfg.focus == "saliency" and row["focus_x"] is None and row["focus_y"] is None:
                left, top, right, bottom, _, _ = boxes[0]
                self.focus[row["key"]] = ((left + right) / 2 / row["width"], (top + bottom) / 2 / row["height"])


def _moved(box: Box, right: float, down: float) -> Box:
    return box._replace(left=box.left + right, top=box.top + down, right=box.right + right, bottom=box.bottom + down)


def _without_borders(row: Mapping[str, Any]) -> str:
    return row["image"] if row["content_width"] is None else picture_urls.with_region(row["image"], content_of(row))
