"""Detectors: boxes of faces, heads, persons, watermarks or texts, by a YOLO network in ONNX.

    picture --letterbox--> (3, size, size) --Session.run--> layout of YOLOv8 or of YOLOv10 --boxes--> Box

YOLOv8's layout (b, 4 + labels, n) holds centre, width, height and a score for each label, of many boxes that overlap;
YOLOv10's (b, n, 6) corners, score and label of boxes that are one for each thing already.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
import pydantic
from PIL import Image

from animetune.assets import Asset
from animetune.config import StrictModel
from animetune.errors import DataError
from animetune.vision.session import Device, Session, in_batches, open_session

Share = Annotated[float, pydantic.Field(ge=0, le=1)]
GREY = (114, 114, 114)
"""What YOLO's authors put around pictures that are not square, in training too."""
_CHANNELS = 3
_END_TO_END = 6
"""Values of a box in YOLOv10's layout."""


class Box(NamedTuple):
    """What was found, and where: pixels of the picture, from its upper left corner, within the picture."""

    left: float
    top: float
    right: float
    bottom: float
    score: float
    label: str


class DetectorConfig(StrictModel):
    """A YOLO network."""

    asset: Asset
    """The ONNX file."""
    labels: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    """Names of what it finds, in the network's order."""
    size: Annotated[int, pydantic.Field(ge=32, le=4096, multiple_of=32)] = 640
    """Side of its input in pixels, where the network leaves it open."""
    threshold: Share = 0.25
    """Boxes of a lower score are left out."""
    overlap: Share = 0.7
    """Of two boxes of one label that share more of their area (intersection over union), the lower score goes."""
    device: Device = "auto"
    """Where it runs."""


class Letterbox(NamedTuple):
    """How a picture was fitted into a square: scaled by (`across`, `down`), then moved by (`left`, `top`) pixels."""

    across: float
    down: float
    left: int
    top: int


class Detector:
    """Finds boxes. `threshold` and `overlap` as of `DetectorConfig`; `size` counts where the session leaves it open."""

    def __init__(
        self,
        session: Session,
        labels: Sequence[str],
        size: int = 640,
        threshold: float = 0.25,
        overlap: float = 0.7,
        name: str = "detector",
    ):
        self._session = session
        self._labels = tuple(labels)
        self._size = size
        self._threshold = threshold
        self._overlap = overlap
        self._name = name

    def detect(self, images: Sequence[Image.Image]) -> list[list[Box]]:
        """The boxes in each RGB picture, the highest score first. Raises DataError for a network of another kind."""
        if not images:
            return []
        shape = getattr(self._session, "input_shape", (None,) * 4)
        size = shape[-1] or self._size
        if len(shape) != 4 or shape[1] not in (None, _CHANNELS):
            raise DataError(f"{self._name}: reads {shape}, not (b, 3, side, side); take a network of YOLOv8 or YOLOv10")
        fits = [letterbox_of(image.size, size) for image in images]
        output = in_batches(self._session, images, lambda image: letterboxed(image, size), shape[0] or 1)[0]
        self._check(output)
        return [
            [self._in_picture(box, fit, image) for box in self._boxes(rows)]
            for rows, fit, image in zip(output, fits, images, strict=True)
        ]

    def _check(self, output: np.ndarray) -> None:
        expected = f"(b, {4 + len(self._labels)}, n) or (b, n, 6)"
        if output.ndim != 3 or (output.shape[1] != 4 + len(self._labels) and output.shape[2] != _END_TO_END):
            raise DataError(
                f"{self._name}: gives {output.shape} for {len(self._labels)} labels, not {expected}; "
                "name its labels, all of them, or take a network of YOLOv8 or YOLOv10"
            )
        if not np.isfinite(output).all():
            raise DataError(f"{self._name}: gives NaN or infinity; the model is broken, or its precision too low")

    def _boxes(self, rows: np.ndarray) -> list[Box]:
        """Of one picture, in the pixels of the square."""
        if rows.shape[0] == 4 + len(self._labels):
            corners, scores, labels = of_yolov8(rows)
        else:
            corners, scores, labels = rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)
        likely = scores >= self._threshold
        corners, scores, labels = corners[likely], scores[likely], labels[likely]
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self._labels):
            raise DataError(f"{self._name}: finds label {int(labels.max())}, and {len(self._labels)} have names")
        kept = suppress(corners, scores, labels, self._overlap)
        found = [(*corners[at].tolist(), float(scores[at]), self._labels[labels[at]]) for at in kept]
        return [Box(*values) for values in found]

    @staticmethod
    def _in_picture(box: Box, fit: Letterbox, image: Image.Image) -> Box:
        def across(x: float) -> float:
            return min(max((x - fit.left) / fit.across, 0.0), float(image.width))

        def down(y: float) -> float:
            return min(max((y - fit.top) / fit.down, 0.0), float(image.height))

        return Box(across(box.left), down(box.top), across(box.right), down(box.bottom), box.score, box.label)


@functools.lru_cache(maxsize=4)
def load_detector(cfg: DetectorConfig) -> Detector:
    """The detector of a configuration, loaded once a process."""
    session = open_session(cfg.asset, cfg.device)
    return Detector(session, cfg.labels, cfg.size, cfg.threshold, cfg.overlap, cfg.asset.name)


def letterbox_of(size: tuple[int, int], side: int) -> Letterbox:
    """How a picture of (width, height) fits into the middle of a square."""
    width, height = _fitted(size, side)
    return Letterbox(width / size[0], height / size[1], (side - width) // 2, (side - height) // 2)


def letterboxed(image: Image.Image, side: int) -> np.ndarray:
    """float32 (3, side, side), RGB, 0 to 1: the picture in the middle of a grey square."""
    fit = letterbox_of(image.size, side)
    canvas = Image.new("RGB", (side, side), GREY)
    canvas.paste(image.resize(_fitted(image.size, side), Image.Resampling.BILINEAR), (fit.left, fit.top))
    return np.asarray(canvas, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)


def of_yolov8(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(corners (n, 4), scores (n,), labels (n,)) of (4 + labels, n): the best label of every box."""
    centre, half = rows[:2].T, rows[2:4].T / 2
    labels = rows[4:].argmax(axis=0)
    return np.hstack([centre - half, centre + half]), rows[4:].max(axis=0), labels


def suppress(corners: np.ndarray, scores: np.ndarray, labels: np.ndarray, overlap: float) -> list[int]:
    """Non-maximum suppression: places of the boxes that stay, the highest score first, the first of equal ones.

    A box goes if it shares more than `overlap` (intersection over union) with one of its label that stays.
    """
    waiting = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while waiting.size:
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        shared = intersection_over_union(corners[best], corners[waiting])
        waiting = waiting[(shared <= overlap) | (labels[waiting] != labels[best])]
    return kept


def intersection_over_union(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,): of a box (4,) and others (n, 4), given by their corners; 0 where both are empty."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
