"""CCIP: how different the characters of two pictures are (deepghs, contrastive anime character image pre-training).

    picture --white, 384x384, CLIP's numbers--> feature network --> (768,)
    features of a, of b --metric network--> differences (a, b): 0 the same, and a threshold beyond which they are not

Two ONNX files of one folder of deepghs/ccip_onnx: `model_feat.onnx`, and `model_metrics.onnx`, which reads n features
stacked and gives all n x n differences. Thresholds are of the model: its metrics.json has it. One character a picture;
what several characters in one mean is not defined.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import pydantic
from PIL import Image

from animetune.assets import Asset
from animetune.config import StrictModel
from animetune.errors import DataError
from animetune.vision.picture_input import CLIP_MEAN, CLIP_STD, Numbers, fitted, normalised, on_white
from animetune.vision.session import Device, Session, in_batches, open_session

SIDE = 384
"""Of the input in pixels, where the model leaves it open: that of all CCIP models."""
BLOCK = 32
"""Features of each side that are compared at once; the metric network reads twice as many."""
_FEATURES = 2
_CHANNELS = 3


class CcipConfig(StrictModel):
    """CCIP: a feature network, its metric network, and the difference up to which two pictures show one character."""

    name: Annotated[str, pydantic.Field(pattern=r"^[a-zA-Z0-9_.-]+$")] = "ccip"
    """What it is called in facts and messages, as ccip-caformer-24-randaug-pruned."""
    feature: Asset
    """Its model_feat.onnx."""
    metric: Asset
    """Its model_metrics.onnx."""
    threshold: Annotated[float, pydantic.Field(gt=0)] | None = None
    """The difference up to which two pictures show the same character: 0.178475 of ccip-caformer-24-randaug-pruned,
    0.195122 of ccip-caformer-6-randaug-pruned_fp32, 0.183973 of ccip-caformer-5_fp32; or `meta`."""
    meta: Asset | None = None
    """Its metrics.json, whose `threshold` this is."""

    @pydantic.model_validator(mode="after")
    def _knows_its_threshold(self) -> CcipConfig:
        if (self.threshold is None) == (self.meta is None):
            raise ValueError("give `threshold`, or `meta`, the metrics.json that came with the model")
        return self


class Ccip:
    """Features of pictures, and differences of features; `batch` pictures are looked at at once, unless the model has
    its own number. Whatever has a `run` and an `input_shape` stands in for either session."""

    def __init__(
        self,
        feature_session: Session,
        metric_session: Session,
        threshold: float,
        batch: int = 8,
        name: str = "ccip",
    ):
        count, self._size = _picture_shape(feature_session.input_shape, name)
        self._features, self._metric = feature_session, metric_session
        self._batch = count or batch
        self._rows, self._width = _feature_shape(metric_session.input_shape, name)
        self._name = name
        self.threshold = threshold

    def features(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """float32 (pictures, d), d 768 in all published models; pictures of any size and mode.

        Raises DataError where the network gives something else, or NaN.
        """
        if not pictures:
            return np.zeros((0, self._width or 0), dtype=np.float32)
        found = in_batches(self._features, pictures, lambda image: ccip_input(image, self._size), self._batch)[0]
        if found.ndim != _FEATURES or (self._width is not None and found.shape[1] != self._width):
            raise DataError(
                f"{self._name}: feature gives {found.shape[1:]} values for a picture, and metric reads {self._width}; "
                "take model_feat.onnx and model_metrics.onnx of one folder"
            )
        return _finite(found, f"{self._name}: feature")

    def differences(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """float32 (n, m): of each row of `a` (n, d) to each of `b` (m, d). Raises DataError as `features`.

        Rows are compared in blocks of one size, filled up with the first, so that no answer depends on what it was
        asked together with. Of the network's square only the corner of `a` against `b` is read.
        """
        found = np.zeros((len(a), len(b)), dtype=np.float32)
        half = (self._rows or 2 * BLOCK) // 2
        for top in range(0, len(a), half):
            rows = _filled(a[top : top + half], half)
            for left in range(0, len(b), half):
                square = self._square(np.concatenate([rows, _filled(b[left : left + half], half)]))
                here = found[top : top + half, left : left + half]
                here[...] = square[: here.shape[0], half : half + here.shape[1]]
        return _finite(found, f"{self._name}: metric")

    def _square(self, stacked: np.ndarray) -> np.ndarray:
        count = self._rows or len(stacked)
        filled = _filled(np.asarray(stacked, dtype=np.float32), count)
        found = np.asarray(self._metric.run(filled)[0], dtype=np.float32)
        if found.shape != (count, count):
            raise DataError(
                f"{self._name}: metric gives {found.shape} for {count} features, not ({count}, {count}); take the "
                "model_metrics.onnx of CCIP"
            )
        return found


@functools.lru_cache(maxsize=2)
def load_ccip(cfg: CcipConfig, device: Device, batch: int) -> Ccip:
    """CCIP of a configuration, loaded once a process. Raises as `open_session`, DataError for a metrics.json without a
    threshold."""
    threshold = threshold_of(cfg)
    return Ccip(open_session(cfg.feature, device), open_session(cfg.metric, device), threshold, batch, cfg.name)


def threshold_of(cfg: CcipConfig) -> float:
    """The threshold that it names, or that of its metrics.json. Raises DataError for a file without."""
    if cfg.meta is None:
        assert cfg.threshold is not None
        return cfg.threshold
    path = cfg.meta.locate()
    try:
        found = json.loads(path.read_bytes())["threshold"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: has no `threshold`; it should be the metrics.json of {cfg.name}") from error
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise DataError(f"{path}: threshold: {found!r} is no number above 0")
    return float(found)


def feature_digests(cfg: CcipConfig) -> dict[str, Any]:
    """What features depend on."""
    return {"feature": cfg.feature.digest}


def metric_digests(cfg: CcipConfig) -> dict[str, Any]:
    """What differences, and being the same, depend on besides features."""
    return {"metric": cfg.metric.digest, "threshold": threshold_of(cfg)}


def ccip_input(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """float32 (3, height, width): on white, stretched by Pillow's bilinear filter, in CLIP's numbers."""
    return normalised(fitted(on_white(image), size, "stretch", "bilinear"), Numbers(CLIP_MEAN, CLIP_STD))


def _filled(rows: np.ndarray, count: int) -> np.ndarray:
    """`count` rows: these, and the first again; a feature of zeros might have no length to divide by."""
    return np.concatenate([rows, np.repeat(rows[:1], count - len(rows), axis=0)])


def _finite(found: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(found).all():
        raise DataError(f"{name} gives NaN or infinity; take another file of its weights, or device: cpu")
    return found


def _picture_shape(shape: tuple[int | None, ...], name: str) -> tuple[int | None, tuple[int, int]]:
    """(pictures in a batch, if the model says; (width, height)) of an input (b, 3, height, width)."""
    if len(shape) != 4 or shape[1] not in (_CHANNELS, None):
        raise DataError(f"{name}: feature reads {shape}, and CCIP's model_feat.onnx (pictures, 3, height, width)")
    return shape[0], (shape[3] or SIDE, shape[2] or SIDE)


def _feature_shape(shape: tuple[int | None, ...], name: str) -> tuple[int | None, int | None]:
    """(features that are compared at once, if the model says; numbers of each) of an input (n, d)."""
    if len(shape) != _FEATURES or shape[0] == 1:
        raise DataError(f"{name}: metric reads {shape}, and CCIP's model_metrics.onnx (features, numbers)")
    return shape[0], shape[1]
