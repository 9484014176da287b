"""Aesthetic scorers: classifiers whose classes are grades, from which a score is made by weights.

`onnx`: the layout of deepghs/anime_aesthetic, (b, 3, side, side), RGB, -1 to 1, stretched to the square; its outputs
are probabilities of worst, low, normal, good, great, best, masterpiece in any order, and its score is sum(i * p_i) in
this one.
`transformers`: a folder of an image classifier, such as aesthetic-shadow (a ViT with the labels hq and lq, whose score
is the probability of hq), run by torch. Only safetensors are read, and no code of a model's author is run.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import pydantic
from PIL import Image

from animetune.assets import Asset
from animetune.config import StrictModel
from animetune.errors import DataError, SetupError
from animetune.vision.session import Device, Session, in_batches, open_session
from animetune.vision.taggers import as_probabilities

Name = Annotated[str, pydantic.Field(pattern=r"^[a-zA-Z0-9_-]+$")]
GRADES = ("worst", "low", "normal", "good", "great", "best", "masterpiece")
"""The labels of anime_aesthetic, the least first; its files may name them in another order."""
OPEN_SIDE = 384
"""Of the input in pixels, where the model leaves it open: that of deepghs' own code (imgutils, generic/classify)."""
BESIDE = ("config.json", "preprocessor_config.json")
"""Files of a transformers folder beside its weights."""


class OnnxScorerConfig(StrictModel):
    """A classifier in ONNX."""

    kind: Literal["onnx"] = "onnx"
    """The layout of deepghs/anime_aesthetic."""
    name: Name
    """What it is called in facts and messages."""
    model: Asset
    """The ONNX file."""
    labels: tuple[str, ...] = ()
    """Names of its classes in its order; or `meta`."""
    meta: Asset | None = None
    """A meta.json whose `labels` are these names."""
    weights: dict[str, float] | None = None
    """Label -> what its probability counts in the score. Null takes 0 to 6 for worst to masterpiece, by name; of other
    labels 0, 1, 2 ... in their order."""

    @pydantic.model_validator(mode="after")
    def _knows_its_labels(self) -> OnnxScorerConfig:
        if bool(self.labels) == (self.meta is not None):
            raise ValueError("give `labels`, or `meta`, the meta.json that came with the model")
        return self

    def __hash__(self) -> int:
        return hash((self.name, self.model, self.labels, self.meta))


class TransformersScorerConfig(StrictModel):
    """An image classifier of transformers."""

    kind: Literal["transformers"]
    """A folder with model.safetensors, config.json and preprocessor_config.json."""
    name: Name
    """What it is called in facts and messages."""
    model: Asset
    """Its model.safetensors; the other two lie beside it."""
    weights: dict[str, float] = pydantic.Field(default={"hq": 1.0})
    """Label -> what its probability counts in the score."""

    def __hash__(self) -> int:
        return hash((self.name, self.model))


ScorerConfig = Annotated[OnnxScorerConfig | TransformersScorerConfig, pydantic.Field(discriminator="kind")]


class Scorer(Protocol):
    """Says how likely each grade is."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its grades."""

    def probabilities(self, images: Sequence[Image.Image]) -> np.ndarray:
        """float32 (images, labels), 0 to 1, or NaN where the model gives that. RGB pictures of any size."""


class OnnxScorer:
    """A `Scorer` in ONNX; `batch` as of `Tagger`."""

    def __init__(self, session: Session, labels: Sequence[str], batch: int = 8, name: str = "scorer"):
        count, channels, height, width = _shape(session, name)
        if channels not in (3, None):
            raise DataError(f"{name}: reads {session.input_shape}, and a scorer reads (pictures, 3, height, width)")
        self.labels = tuple(labels)
        self._session = session
        self._size = (width, height) if width and height else (OPEN_SIDE, OPEN_SIDE)
        self._batch = count or batch
        self._name = name

    def probabilities(self, images: Sequence[Image.Image]) -> np.ndarray:
        """See `Scorer`. Raises DataError when its labels are not the model's, or it gives no probabilities."""
        if not images:
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        found = in_batches(self._session, images, lambda image: stretched(image, self._size), self._batch)[0]
        if found.ndim != 2 or found.shape[1] != len(self.labels):
            raise DataError(
                f"{self._name}: the model gives {found.shape[1:]} values for a picture, and {len(self.labels)} labels "
                f"are named: {', '.join(self.labels)}"
            )
        return as_probabilities(found, self._name)


class TransformersScorer:
    """A `Scorer` of transformers, in torch; `batch` as of `Tagger`."""

    def __init__(self, folder: Path, device: Device, batch: int, name: str):
        import transformers
        from transformers.utils import logging

        from animetune.models.device import pick_device

        self._device = pick_device(device, setting="models: device")
        self._batch = batch
        self._name = name
        logging.disable_progress_bar()
        try:
            self._processor = transformers.AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, use_fast=False
            )
            model = transformers.AutoModelForImageClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{name}: {folder}: transformers cannot open it: {str(error).splitlines()[0]}") from error
        self._model = model.to(self._device).float().eval()
        kind = model.config.problem_type
        self._is_multi_label = kind == "multi_label_classification" or model.config.num_labels == 1
        self.labels = tuple(label for _, label in sorted(model.config.id2label.items()))

    def probabilities(self, images: Sequence[Image.Image]) -> np.ndarray:
        """See `Scorer`."""
        if not images:
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        return in_batches(self, images, self._prepared, self._batch)[0]

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """As of `Session`."""
        return (None, 3, None, None)

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """As of `Session`: probabilities, by softmax, or sigmoid where classes do not exclude each other."""
        import torch

        with torch.inference_mode():
            logits = self._model(torch.from_numpy(batch).to(self._device)).logits.float()
            found = logits.sigmoid() if self._is_multi_label else logits.softmax(dim=-1)
            return [found.cpu().numpy()]

    def _prepared(self, image: Image.Image) -> np.ndarray:
        return np.asarray(self._processor(images=image, return_tensors="np")["pixel_values"][0], dtype=np.float32)


def load_scorer(cfg: OnnxScorerConfig | TransformersScorerConfig, device: Device, batch: int) -> Scorer:
    """The scorer of a configuration, loaded once a process."""
    return _loaded(cfg.model_copy(update={"weights": {}}), device, batch)


@functools.lru_cache(maxsize=4)
def _loaded(cfg: OnnxScorerConfig | TransformersScorerConfig, device: Device, batch: int) -> Scorer:
    if isinstance(cfg, OnnxScorerConfig):
        return OnnxScorer(open_session(cfg.model, device), labels_of(cfg), batch, cfg.name)
    return TransformersScorer(_folder(cfg), device, batch, cfg.name)


def labels_of(cfg: OnnxScorerConfig) -> tuple[str, ...]:
    """The labels that it names, or those of its meta.json. Raises DataError for a file without."""
    if cfg.meta is None:
        return cfg.labels
    path = cfg.meta.locate()
    try:
        labels = json.loads(path.read_bytes())["labels"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: has no `labels`; it should be the meta.json of {cfg.name}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise DataError(f"{path}: labels: is not a list of names")
    return tuple(labels)


def digests(cfg: OnnxScorerConfig | TransformersScorerConfig) -> dict[str, Any]:
    """What its answers depend on: the files, and names of labels."""
    if isinstance(cfg, OnnxScorerConfig):
        meta = None if cfg.meta is None else cfg.meta.digest
        return {"model": cfg.model.digest, "labels": list(cfg.labels), "meta": meta}
    return {"model": cfg.model.digest, **{file: cfg.model.beside(file).digest for file in BESIDE}}


def score(labels: Sequence[str], probabilities: Sequence[float], weights: Mapping[str, float] | None) -> float:
    """sum(weight * probability), weights by label; or 0, 1, 2 ..., for labels of GRADES as they stand there."""
    order = sorted(labels, key=GRADES.index) if set(labels) <= set(GRADES) else labels
    by_label = {label: float(place) for place, label in enumerate(order)} if weights is None else weights
    return sum(by_label.get(label, 0.0) * value for label, value in zip(labels, probabilities, strict=True))


def stretched(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """float32 (3, height, width), RGB, -1 to 1: bilinear, whatever the shape of the picture was."""
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    return ((pixels / np.float32(255) - np.float32(0.5)) / np.float32(0.5)).transpose(2, 0, 1)


def _shape(session: Session, name: str) -> tuple[int | None, ...]:
    if len(session.input_shape) != 4:
        raise DataError(f"{name}: reads {session.input_shape}, and a scorer reads (pictures, 3, height, width)")
    return session.input_shape


def _folder(cfg: TransformersScorerConfig) -> Path:
    weights = cfg.model.locate()
    missing = [file for file in BESIDE if not (weights.parent / file).is_file()]
    if weights.name != "model.safetensors" or missing:
        raise SetupError(f"{cfg.name}: {weights}: should be a model.safetensors with {' and '.join(BESIDE)} beside it")
    return weights.parent
