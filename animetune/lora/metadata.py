"""What a LoRA's file says of itself: ModelSpec 1.0.1, and the keys of kohya that user interfaces read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from animetune import fsio
from animetune.lora.config import LoraConfig
from animetune.lora.extract import Extracted
from animetune.models.source import Source
from animetune.records import PIXELS_PER_CELL
from animetune.version import VERSION

_SEVERAL = "Dynamic"
"""What kohya's tools write where ranks differ between layers."""


def lora_metadata(
    cfg: LoraConfig, base: Source, extracted: Sequence[Extracted], *, facts: Mapping[str, str]
) -> dict[str, str]:
    """All metadata but the hash, which is known once all is written; `facts` become `animetune.<name>`."""
    side = PIXELS_PER_CELL * base.architecture.unet["sample_size"]
    spec = {
        "sai_model_spec": "1.0.1",
        "architecture": "stable-diffusion-xl-v1-base/lora",
        "implementation": "https://github.com/Stability-AI/generative-models",
        "implementation_version": f"animetune/{VERSION}",
        "title": cfg.about.title,
        "resolution": f"{side}x{side}",
        "license": cfg.about.license,
        "author": cfg.about.author,
        "description": cfg.about.description,
        "date": cfg.about.date,
        "usage_hint": cfg.about.usage_hint,
        "trigger_phrase": cfg.about.trigger_phrase,
        "tags": ", ".join(cfg.about.tags),
        "timestep_range": cfg.about.timestep_range,
        "prediction_type": base.parameterization.prediction,
    }
    return {
        **{f"modelspec.{key}": value for key, value in spec.items() if value},
        **_kohya(cfg, extracted),
        **{f"animetune.{name}": value for name, value in facts.items()},
        "format": "pt",
    }


def _kohya(cfg: LoraConfig, extracted: Sequence[Extracted]) -> dict[str, str]:
    rank = _common(each.rank for each in extracted if not each.layer.is_wide)
    wide = _common(each.rank for each in extracted if each.layer.is_wide)
    arguments = {"conv_dim": wide, "conv_alpha": wide} if wide else {}
    return {
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_network_module": "networks.lora",
        "ss_network_dim": rank or wide or _SEVERAL,
        "ss_network_alpha": rank or wide or _SEVERAL,
        "ss_network_args": fsio.canonical_json(arguments),
        "ss_output_name": cfg.name,
        "ss_v2": "False",
    }


def _common(ranks: Iterable[int]) -> str | None:
    """The rank that all have, or that they differ; None without layers."""
    different = set(ranks)
    if not different:
        return None
    return str(different.pop()) if len(different) == 1 else _SEVERAL
