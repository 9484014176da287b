"""What detectors find in pictures, asked once for good.

Answers are raw: all boxes above a low score, so that another threshold asks nothing. `detections` is the inquiry of a
detector, `likely` takes what its threshold lets through.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import polars as pl
from PIL import Image

from animetune import tables
from animetune.curate.answers import QUESTION, Inquiry, ask, question_of
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.parts import Part
from animetune.curate.steps import Workplace
from animetune.errors import DataError, PictureError
from animetune.pictures import open_picture
from animetune.vision.detectors import Box, DetectorConfig, load_detector

FORMAT = 1
LEAST_SCORE = 0.05
"""Of boxes that are kept, if the threshold is not even lower."""

_BOX = pl.Struct({**dict.fromkeys(Box._fields[:5], pl.Float64()), "label": pl.String()})
ANSWER: dict[str, pl.DataType] = {"boxes": pl.List(_BOX)}


def detections(cfg: DetectorConfig, decoding: PicturesConfig) -> Inquiry:
    """What a detector finds. A question has `image`."""
    low = cfg.model_copy(update={"threshold": min(cfg.threshold, LEAST_SCORE)})
    return Inquiry(
        "detections", _settings(low, decoding), functools.partial(detect_all, cfg=low, decoding=decoding), ANSWER, 64
    )


@contextlib.contextmanager
def asking(
    inquiry: Inquiry, questions: Callable[[Part], pl.DataFrame], at: Workplace
) -> Iterator[Iterator[tuple[Part, pl.DataFrame]]]:
    """`answers.ask`, of which each part is taken when its turn has come; closed, and its folder free, at the end."""
    found = ask(inquiry, questions, at)
    try:
        yield found
    finally:
        if isinstance(found, Generator):
            found.close()


@contextlib.contextmanager
def asking_detectors(
    detectors: Sequence[DetectorConfig],
    decoding: PicturesConfig,
    questions: Callable[[Part], pl.DataFrame],
    at: Workplace,
) -> Iterator[Iterator[list[pl.DataFrame]]]:
    """`asking` several detectors: for each part, the answers of each. Those that differ in threshold alone are one."""
    inquiries = [detections(cfg, decoding) for cfg in detectors]
    folders = [inquiry.folder(at.answers) for inquiry in inquiries]
    with contextlib.ExitStack() as stack:
        asked = {
            folder: stack.enter_context(asking(inquiry, questions, at))
            for folder, inquiry in dict(zip(folders, inquiries, strict=True)).items()
        }

        def of_parts() -> Iterator[list[pl.DataFrame]]:
            for _ in at.rows.parts:
                found = {folder: next(answers)[1] for folder, answers in asked.items()}
                yield [found[folder] for folder in folders]

        yield of_parts()


def digest(cfg: DetectorConfig) -> dict[str, Any]:
    """JSON value: all that the boxes of a detector depend on; not where its file lies, nor where it runs."""
    return {**cfg.model_dump(mode="json", exclude={"asset", "device"}), "asset": cfg.asset.digest}


def questions_of(pictures: pl.DataFrame) -> pl.DataFrame:
    """key, question, image, of a frame with key, image and pixel_digest."""
    numbers = [question_of(image, pixels) for image, pixels in pictures.select("image", "pixel_digest").iter_rows()]
    return pictures.select("key", pl.Series(QUESTION, numbers, pl.UInt64()), "image")


def likely(boxes: Sequence[dict[str, Any]] | None, threshold: float) -> list[Box]:
    """Of the boxes of an answer those that are as likely as the threshold says."""
    return [Box(**box) for box in boxes or [] if box["score"] >= threshold]


def detect_all(questions: pl.DataFrame, cfg: DetectorConfig, decoding: PicturesConfig) -> pl.DataFrame:
    """In a worker process: the boxes in each picture."""
    detector = load_detector(cfg)
    answers = [
        {QUESTION: number, "boxes": [box._asdict() for box in detector.detect([opened(url, decoding)])[0]]}
        for number, url in questions.select(QUESTION, "image").iter_rows()
    ]
    return tables.frame(answers, {QUESTION: pl.UInt64(), **ANSWER})


def opened(url: str, decoding: PicturesConfig) -> Image.Image:
    """A picture that was decoded before, RGB. Raises DataError, naming it, if it cannot be any more."""
    try:
        return open_picture(url, background=decoding.background, max_pixels=decoding.max_pixels).image
    except PictureError as error:
        raise DataError(f"{url}: could be decoded before and cannot be now ({error}); restore it") from error


def _settings(cfg: DetectorConfig, decoding: PicturesConfig) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "detector": digest(cfg),
        "background": list(decoding.background),
        "max_pixels": decoding.max_pixels,
    }
