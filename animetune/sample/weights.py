"""What a model is, for pictures: its name, the bytes of its weights, and the hash that A1111 writes into PNGs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from animetune import fsio
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
        self._hashes: dict[Path, str] = {}
        self._seen: dict[ModelConfig, Weights] = {}

    def look(self, cfg: ModelConfig) -> Weights:
        """Open the model, look whether all tensors are there, and hash its files, as far as that was not done yet.

        Raises what `open_source` does, DataError naming tensors that are missing or of another shape.
        """
        if cfg not in self._seen:
            self._seen[cfg] = self._look(cfg)
        return self._seen[cfg]

    def _look(self, cfg: ModelConfig) -> Weights:
        source = open_source(cfg)
        for component in COMPONENTS[:3]:  # drawing says itself that it needs a VAE
            if source.files[component]:
                source.state(component)  # now: another model may draw for hours before this one's turn
        hashes = {component: [self._hash(file) for file in files] for component, files in source.files.items()}
        made = cfg.base if not any(hashes.values()) else ""
        settings = {name: getattr(cfg, name) for name in _DRAWS_WITH}
        which = cfg.weights if any("manifest.json" in map(_name, files) for files in source.files.values()) else ""
        identity = [made, which, settings, hashes, list(source.parameterization)]
        base = Path(cfg.base)
        return Weights(
            name=_shown(cfg, which),
            digest=fsio.short_digest(fsio.canonical_json(identity)),
            file_hash=self._hash(base)[:10] if base.is_file() else None,
            diffusion=DiffusionConfig(**source.parameterization._asdict()),
        )

    def _hash(self, file: Path) -> str:
        if file not in self._hashes:
            self._hashes[file] = fsio.sha256_file(file)
        return self._hashes[file]


def _shown(cfg: ModelConfig, which: str) -> str:
    base = Path(cfg.base)
    name = base.stem if base.is_file() else base.resolve().name if base.exists() else cfg.base
    return f"{name} ({which})" if which and which != "ema" else name


def _name(file: Path) -> str:
    return file.name
