"""What a model is, for pictures: its name, the bytes of its weights, and the hash that A1111 writes into PNGs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from animetune import fsio
from animetune.assets import sha256_of
from animetune.diffusion.config import DiffusionConfig
from animetune.models.config import ModelConfig
from animetune.models.sdxl import COMPONENTS
from animetune.models.sources import open_source

_DRAWS_WITH = ("dtype", "mask_padding")
"""Settings of a model that change its pictures; how it is computed or trained does not."""


@dataclass(frozen=True)
class Weights:
    """A model, seen from what it draws."""

    name: str
    """As pictures call it: the last part of its path, or its hub id, and which of a run's weights."""
    digest: str
    """Of the bytes of all its weights and of the settings that change its pictures."""
    file_hash: str | None
    """First ten digits of the SHA-256 of a single file, as A1111 writes it."""
    diffusion: DiffusionConfig
    """What the model predicts."""


class WeightsReader:
    """Looks at models, at each once."""

    def __init__(self) -> None:
        self._seen: dict[ModelConfig, Weights] = {}

    def look(self, cfg: ModelConfig) -> Weights:
        """Open the model, look whether all tensors are there, and hash its files, as far as that was not done yet.

        Raises what `open_source` does, DataError naming tensors that are missing or of another shape.
        """
        if cfg not in self._seen:
            self._seen[cfg] = _look(cfg)
        return self._seen[cfg]


def _look(cfg: ModelConfig) -> Weights:
    source = open_source(cfg)
    for component in COMPONENTS[:3]:  # drawing says itself that it needs a VAE
        if source.files[component]:
            source.state(component)  # now: another model may draw for hours before this one's turn
    settings = {name: getattr(cfg, name) for name in _DRAWS_WITH}
    base = Path(cfg.base)
    return Weights(
        name=_shown(cfg, is_run="weights" in source.facts and not base.is_file()),
        digest=fsio.short_digest(fsio.canonical_json([source.digests(), settings])),
        file_hash=sha256_of(base)[:10] if base.is_file() else None,
        diffusion=DiffusionConfig(**source.parameterization._asdict()),
    )


def _shown(cfg: ModelConfig, *, is_run: bool) -> str:
    base = Path(cfg.base)
    name = base.stem if base.is_file() else base.resolve().name if base.exists() else cfg.base
    return f"{name} ({cfg.weights})" if is_run and cfg.weights != "ema" else name
