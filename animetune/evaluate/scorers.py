"""Scorers: what looks at pictures and says something of each.

    Scorer.answers(pictures)        -> one JSON object a picture
    Features.features(pictures)     -> one vector a picture, of a featurizer (`animetune.vision.features`)

Probes read answers and make numbers of them; a scorer knows nothing of probes. Its `digest` names all that its answers
depend on beside the picture, so that an answer is never taken for another model's. A new scorer is a class with these
three and a line in `specs` and `build_scorer`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from animetune import fsio
from animetune.errors import ConfigError, DataError
from animetune.evaluate.config import EvaluateConfig
from animetune.progress import first_of
from animetune.vision import aesthetics, ccip, features
from animetune.vision.aesthetics import OnnxScorerConfig, ScorerConfig, TransformersScorerConfig
from animetune.vision.ccip import CcipConfig
from animetune.vision.features import (
    ClipFeaturesConfig,
    FeaturesConfig,
    InceptionFeaturesConfig,
    OnnxFeaturesConfig,
)
from animetune.vision.session import Device
from animetune.vision.taggers import RATING, Tagger, TaggerConfig, TagList, load_tagger

LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Weights of red, green and blue in the luma of ITU-R BT.709, of the numbers in the file."""
BLACK, WHITE = 16 / 255, 239 / 255
"""Luma up to which a pixel counts as black, and from which as white."""
DIGITS = 5
FEATURIZERS = ("ccip", "features")
"""Names of those that give vectors."""
_AESTHETIC_FORMAT = 2


Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Float32 vectors (n, d) and (m, d) -> differences (n, m)."""


class Scorer(Protocol):
    """Looks at pictures."""

    name: str
    """What its answers are filed under."""
    digest: str
    """Of everything that they depend on."""

    def answers(self, pictures: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """One a picture, JSON values only; RGB pictures of any size. Raises DataError where there can be none."""


class TagScorer:
    """What a tagger sees: `tags` name -> probability, down to its floor; `ratings` all of them."""

    name = "tags"

    def __init__(self, tagger: Tagger, floor: float, digest: str):
        self._tagger = tagger
        self._floor = floor
        self.digest = digest

    def answers(self, pictures: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """See `Scorer`. Raises DataError where the tagger gives NaN."""
        found = self._tagger.probabilities(pictures)
        if np.isnan(found).any():
            raise DataError("tagger: gives NaN for a picture; take another file of its weights, or device: cpu")
        return [self._answer(row) for row in found]

    def _answer(self, row: np.ndarray) -> dict[str, Any]:
        tags: dict[str, float] = {}
        ratings: dict[str, float] = {}
        for name, kind, value in zip(self._tagger.tags.names, self._tagger.tags.kinds, row.tolist(), strict=True):
            if kind == RATING:
                ratings[name] = round(value, DIGITS)
            elif value >= self._floor:
                tags[name] = round(value, DIGITS)
        return {"tags": tags, "ratings": ratings}


class AestheticScorer:
    """What an aesthetic classifier says: `grades`, label -> probability, and `score`, their weighted sum."""

    name = "aesthetic"

    def __init__(self, scorer: aesthetics.Scorer, cfg: ScorerConfig, digest: str):
        self._scorer = scorer
        self._weights = cfg.weights
        self.digest = digest

    def answers(self, pictures: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """See `Scorer`. Raises DataError where the classifier gives NaN."""
        found = self._scorer.probabilities(pictures)
        if np.isnan(found).any():
            raise DataError("aesthetic: gives NaN for a picture; take another file of its weights, or device: cpu")
        return [self._answer(row.tolist()) for row in found]

    def _answer(self, row: list[float]) -> dict[str, Any]:
        labels = self._scorer.labels
        return {
            "score": round(aesthetics.score(labels, row, self._weights), DIGITS),
            "grades": {label: round(value, DIGITS) for label, value in zip(labels, row, strict=True)},
        }


class LuminanceScorer:
    """Luma (`LUMA`), 0 black to 1 white: its `mean`, the range from `low` to `high` (1st and 99th percentile), and the
    shares of `black` and `white` pixels."""

    name = "luminance"
    digest = "bt709-1"

    def answers(self, pictures: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """See `Scorer`."""
        return [luminance(np.asarray(picture)) for picture in pictures]


class ScorerSpec(NamedTuple):
    """What a scorer, or a featurizer, is made of, in any process."""

    name: str
    digest: str
    settings: TaggerConfig | ScorerConfig | CcipConfig | FeaturesConfig | None
    device: Device
    batch: int

    @property
    def folder_name(self) -> str:
        """Of the folder with what it said."""
        return f"{self.name}-{self.digest}"


def luminance(pixels: np.ndarray) -> dict[str, float]:
    """The answer of `LuminanceScorer` for uint8 RGB (h, w, 3)."""
    luma = pixels.reshape(-1, 3).astype(np.float64) @ LUMA / 255
    low, high = np.quantile(luma, (0.01, 0.99))
    slack = 1e-9
    numbers = {
        "mean": luma.mean(),
        "low": low,
        "high": high,
        "black": (luma <= BLACK + slack).mean(),
        "white": (luma >= WHITE - slack).mean(),
    }
    return {name: round(float(value), DIGITS) for name, value in numbers.items()}


def specs(cfg: EvaluateConfig, needed: set[str]) -> list[ScorerSpec]:
    """The scorers that the probes need and the configuration has, in a fixed order; files are hashed."""
    found = []
    if "luminance" in needed:
        found.append(ScorerSpec("luminance", LuminanceScorer.digest, None, cfg.device, cfg.batch))
    if cfg.tagger is not None and "tags" in needed:
        parts = [cfg.tagger.model.digest, cfg.tagger.tags.digest, cfg.tagger.floor]
        found.append(ScorerSpec("tags", _digest(parts), cfg.tagger, cfg.device, cfg.batch))
    if cfg.aesthetic is not None and "aesthetic" in needed:
        parts = [_AESTHETIC_FORMAT, aesthetics.digests(cfg.aesthetic), cfg.aesthetic.weights]
        found.append(ScorerSpec("aesthetic", _digest(parts), cfg.aesthetic, cfg.device, cfg.batch))
    if cfg.ccip is not None and "ccip" in needed:
        found.append(ScorerSpec("ccip", _digest(ccip.feature_digests(cfg.ccip)), cfg.ccip, cfg.device, cfg.batch))
    if cfg.features is not None and "features" in needed:
        digest = _digest(features.digests(cfg.features))
        found.append(ScorerSpec("features", digest, cfg.features, cfg.device, cfg.batch))
    return found


@functools.lru_cache(maxsize=4)
def build_scorer(spec: ScorerSpec) -> Scorer:
    """The scorer of a spec, loaded once a process."""
    if isinstance(spec.settings, TaggerConfig):
        tagger = load_tagger(spec.settings, spec.device, spec.batch)
        return TagScorer(tagger, spec.settings.floor, spec.digest)
    if isinstance(spec.settings, OnnxScorerConfig | TransformersScorerConfig):
        loaded = aesthetics.load_scorer(spec.settings, spec.device, spec.batch)
        return AestheticScorer(loaded, spec.settings, spec.digest)
    return LuminanceScorer()


def build_featurizer(spec: ScorerSpec) -> features.Features:
    """The featurizer of a spec, loaded once a process."""
    if isinstance(spec.settings, CcipConfig):
        return ccip.load_ccip(spec.settings, spec.device, spec.batch)
    if isinstance(spec.settings, OnnxFeaturesConfig | ClipFeaturesConfig | InceptionFeaturesConfig):
        return features.load_features(spec.settings, spec.device, spec.batch)
    raise TypeError(f"{spec.name} is no featurizer")


def metrics_of(cfg: EvaluateConfig) -> dict[str, Metric]:
    """What measures two sets of vectors, by featurizer; a model is loaded when it is first asked."""
    if cfg.ccip is None:
        return {}
    settings = cfg.ccip

    def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return ccip.load_ccip(settings, cfg.device, cfg.batch).differences(first, second)

    return {"ccip": differences}


def metric_digests(cfg: EvaluateConfig, needed: set[str]) -> dict[str, Any]:
    """What `metrics_of` depends on, of those that probes need."""
    return {"ccip": ccip.metric_digests(cfg.ccip)} if cfg.ccip is not None and "ccip" in needed else {}


def check_tags(tagger: TaggerConfig, needed: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Raise ConfigError when the tagger's list lacks what probes look for.

    `needed`: name of a probe, and tags of which its list must have at least one.
    """
    known = set(TagList.read(tagger.tags.locate()).names)
    problems = []
    for probe in dict.fromkeys(name for name, _ in needed):
        absent = [" or ".join(tags) for name, tags in needed if name == probe and not known & set(tags)]
        if absent:
            problems.append(
                f"tagger.tags: {tagger.tags.name}: the probe {probe} needs tags that this list does not have: "
                f"{first_of(absent)}; take a tagger of Danbooru's tags, such as SmilingWolf's, with the "
                f"selected_tags.csv that came with it, or remove {probe} from probes"
            )
    if problems:
        raise ConfigError(problems)


def _digest(value: Any) -> str:
    return fsio.short_digest(fsio.canonical_json(value))
