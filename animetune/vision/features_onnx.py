"""Features by a network in ONNX: which output, and how many vectors of one picture become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from animetune.errors import ConfigError, DataError
from animetune.vision.features import OnnxFeaturesConfig
from animetune.vision.picture_input import Layout, Numbers, fitted, normalised, on_white
from animetune.vision.session import Device, Session, in_batches, open_session

_CHANNELS = 3
_VECTOR, _TOKENS, _PLACES = 2, 3, 4
"""Axes of an output with one vector, a vector for each token, one for each place of a picture."""


class NamedSession(Session, Protocol):
    """A `Session` whose outputs have names."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Of its outputs, in the order in which `run` gives them."""


class OnnxFeatures:
    """`Features` in ONNX; `batch` pictures are looked at at once, unless the network has its own number."""

    def __init__(self, session: NamedSession, cfg: OnnxFeaturesConfig, batch: int = 8):
        count, self._size = _shape(session.input_shape, cfg)
        self._session = session
        self._cfg = cfg
        self._output = _place_of(session.output_names, cfg)
        self._numbers = Numbers(cfg.mean, cfg.std, cfg.channels, cfg.layout)
        self._batch = count or batch

    def features(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """See `Features`."""
        if not pictures:
            return np.zeros((0, 0), dtype=np.float32)
        return finite(
            pooled(in_batches(self._session, pictures, self._read, self._batch)[self._output], self._cfg),
            self._cfg.name,
        )

    def _read(self, picture: Image.Image) -> np.ndarray:
        image = fitted(on_white(picture), self._size, self._cfg.fit, self._cfg.filter)
        return normalised(image, self._numbers)


def open_onnx_features(cfg: OnnxFeaturesConfig, device: Device, batch: int) -> OnnxFeatures:
    """The network of a configuration. Raises as `open_session`; ConfigError for an output that it does not have."""
    return OnnxFeatures(open_session(cfg.model, device), cfg, batch)


def pooled(found: np.ndarray, cfg: OnnxFeaturesConfig) -> np.ndarray:
    """One vector a picture, (n, d), of (n, d), (n, tokens, d) or (n, d, height, width).

    Raises DataError for an output that is none of these, and where `pool` does not fit it.
    """
    if found.ndim == _VECTOR and cfg.pool is None:
        return found
    if found.ndim == _TOKENS and cfg.pool is not None:
        return found[:, 0] if cfg.pool == "first" else found.mean(axis=1)
    if found.ndim == _PLACES and cfg.pool == "mean":
        return found.mean(axis=(2, 3))
    fits = {_VECTOR: "null", _TOKENS: "first or mean", _PLACES: "mean"}.get(found.ndim)
    remedy = "choose another output" if fits is None else f"set features.pool: {fits}, or choose another output"
    raise DataError(f"{cfg.name}: gives {found.shape} for {len(found)} pictures with pool: {cfg.pool}; {remedy}")


def finite(found: np.ndarray, name: str) -> np.ndarray:
    """The same. Raises DataError for NaN and infinity."""
    if not np.isfinite(found).all():
        raise DataError(
            f"{name}: gives NaN or infinity for a picture; take another file of its weights, or device: cpu"
        )
    return found


def _place_of(names: Sequence[str], cfg: OnnxFeaturesConfig) -> int:
    if cfg.output is None and len(names) == 1:
        return 0
    if cfg.output is not None and cfg.output in names:
        return list(names).index(cfg.output)
    asked = "has more than one output" if cfg.output is None else f"has no output {cfg.output!r}"
    raise ConfigError(f"features.output: {cfg.name} {asked}; name one of {', '.join(names)}")


def _shape(shape: tuple[int | None, ...], cfg: OnnxFeaturesConfig) -> tuple[int | None, tuple[int, int]]:
    """(pictures in a batch, if the network says; (width, height))."""
    axes: dict[Layout, tuple[int, int, int]] = {"nchw": (1, 2, 3), "nhwc": (3, 1, 2)}
    channels, height, width = axes[cfg.layout]
    if len(shape) != _PLACES or shape[channels] not in (_CHANNELS, None):
        raise DataError(
            f"{cfg.name}: reads {shape}, not pictures as {cfg.layout} with 3 channels; set features.layout, or take a "
            "network that reads pictures"
        )
    return shape[0], (shape[width] or cfg.size, shape[height] or cfg.size)
