"""animetune: fine-tune SDXL on anime pictures, from a Danbooru-style dump to a checkpoint that ComfyUI loads.

    posts --curate--> table --shard--> MDS --+
                        |--labels--> Arrow --+--data--> batch --loss--> train --> checkpoint --export--> weights

The names below are the public pieces; a training loop of one's own takes about fifteen lines of them (README). They are
imported when first used: `import animetune` costs milliseconds and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from animetune.version import VERSION

__version__ = VERSION

_PUBLIC = {
    "load_config": "animetune.config",
    "CurateConfig": "animetune.curate.config",
    "ShardConfig": "animetune.shards.config",
    "LabelsConfig": "animetune.shards.config",
    "TrainConfig": "animetune.train.config",
    "SampleConfig": "animetune.sample.config",
    "ExportConfig": "animetune.export.config",
    "DataConfig": "animetune.data.config",
    "PromptConfig": "animetune.prompts",
    "build_loader": "animetune.data.loader",
    "build_val_loader": "animetune.data.loader",
    "AnimeDataModule": "animetune.data.datamodule",
    "load_models": "animetune.models.load",
    "build_optimizer": "animetune.train.optim",
    "diffusion_loss": "animetune.diffusion.loss",
    "draw": "animetune.diffusion.draw",
    "DiffusionConfig": "animetune.diffusion.config",
    "SamplerConfig": "animetune.diffusion.config",
    "Request": "animetune.records",
    "Size": "animetune.records",
    "compose": "animetune.prompts",
    "tokenize": "animetune.tokens",
    "AnimetuneError": "animetune.errors",
}

__all__ = ["__version__", *sorted(_PUBLIC)]

if TYPE_CHECKING:
    from animetune.config import load_config as load_config
    from animetune.data.datamodule import AnimeDataModule as AnimeDataModule
    from animetune.data.loader import build_loader as build_loader
    from animetune.data.loader import build_val_loader as build_val_loader
    from animetune.diffusion.draw import draw as draw
    from animetune.diffusion.loss import diffusion_loss as diffusion_loss
    from animetune.models.load import load_models as load_models
    from animetune.prompts import compose as compose
    from animetune.tokens import tokenize as tokenize
    from animetune.train.optim import build_optimizer as build_optimizer


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'animetune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
