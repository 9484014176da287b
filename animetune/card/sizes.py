"""The sizes that a model was trained at, from its shard root."""

from __future__ import annotations

import math

from animetune.buckets import PRESETS, SizesConfig
from animetune.card.lineage import Run
from animetune.card.markdown import number, table
from animetune.card.recipe import Asked
from animetune.records import Size

SHOWN = 40
"""Sizes that are listed, those of most pictures."""


def sizes_section(run: Run, asked: Asked) -> str:
    """What the shards of the last run hold; what the recipe asks for, where that is something else."""
    counts = trained_sizes(run)
    parts = []
    wanted = asked_sizes(run, asked)
    if wanted is not None:
        parts.append(f"The recipe asks for {_rule(wanted)}.")
        listed = list_sizes(wanted)
        if listed:
            parts.append(table(["size", "ratio"], [[_text(size), ratio(size)] for size in listed]))
        parts.append("The sizes of this run:")
    if not counts:
        return "\n\n".join([*parts, "Not known: the shards of the training are not here."])
    shown = sorted(list(counts.items())[:SHOWN], key=lambda item: (-item[1], item[0]))
    rows = [[_text(size), ratio(size), number(count)] for size, count in shown]
    parts.append(table(["size", "ratio", "pictures"], rows, numbers=[2]))
    if len(counts) > SHOWN:
        parts.append(f"And {len(counts) - SHOWN} more with fewer pictures.")
    return "\n\n".join(parts)


def trained_sizes(run: Run) -> dict[Size, int]:
    """Size -> training samples, most first."""
    counts: dict[Size, int] = {}
    for each in run.data:
        for group in each.root.groups_of("train") if each.root is not None else ():
            counts[group.size] = counts.get(group.size, 0) + group.samples
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def asked_sizes(run: Run, asked: Asked) -> SizesConfig | None:
    """The sizes that the recipe asks for the shards of a run; None where they are those of the run, or not asked."""
    places = {str(source.shards) for source in run.cfg.data.all_sources}
    stage = next((cfg for cfg in asked.train if cfg.run == str(run.folder)), None)
    places |= {str(source.shards) for source in stage.data.all_sources} if stage is not None else set()
    for cfg in asked.shard:
        if str(cfg.out) in places:
            made = [each.root.manifest.facts.get("sizes") for each in run.data if each.root is not None]
            return None if cfg.sizes.model_dump(mode="json") in made else cfg.sizes
    return None


def list_sizes(cfg: SizesConfig) -> list[Size]:
    """The sizes of published lists, which can be named without pictures; else none."""
    return [size for tier in cfg.all_tiers if tier.preset is not None for size in PRESETS[tier.preset]]


def ratio(size: Size) -> str:
    """`1:1 square`, `19:13 landscape`."""
    divisor = math.gcd(size.width, size.height)
    across, down = size.width // divisor, size.height // divisor
    form = "square" if across == down else "landscape" if across > down else "portrait"
    return f"{across}:{down} {form}"


def _rule(cfg: SizesConfig) -> str:
    tiers = []
    for tier in cfg.all_tiers:
        if tier.preset is not None:
            tiers.append(f"the {len(list_sizes(cfg))} sizes of the list `{tier.preset}`")
        else:
            kind = "any size" if tier.open else "sizes"
            sides = f", sides from {tier.sides.start} to {tier.sides[-1]} pixels" if len(tier.sides) else ""
            tiers.append(f"{kind} of about {_area(tier.area)} whose sides are multiples of {tier.step}{sides}")
    return "; ".join(tiers)


def _area(area: int) -> str:
    side = math.isqrt(area)
    return f"{side}x{side} pixels" if side * side == area else f"{number(area)} pixels"


def _text(size: Size) -> str:
    return f"{size.width} x {size.height}"
