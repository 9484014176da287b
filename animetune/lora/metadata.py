"""What a LoRA's file says of itself: ModelSpec 1.0.1, and the keys of kohya that user interfaces read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from animetune import fsio
from animetune.lora.config import LoraConfig
from animetune.lora.extract import Extracted
from animetune.models.source import Source
from animetune.weights.metadata import SDXL_ARCHITECTURE, described

_SEVERAL = "Dynamic"
"""What kohya's tools write where ranks differ between layers."""


def lora_metadata(
    cfg: LoraConfig, base: Source, extracted: Sequence[Extracted], *, facts: Mapping[str, str]
) -> dict[str, str]:
    """All metadata but the hash, which is known once all is written; `facts`, of the tuned model, become
    `animetune.<name>`. Raises ConfigError for a thumbnail that cannot be used."""
    said = described(cfg.about, base, trained=facts, architecture=f"{SDXL_ARCHITECTURE}/lora")
    return said | _kohya(cfg, extracted)


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
