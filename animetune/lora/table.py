"""How much of a difference a LoRA holds, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from animetune.lora.extract import Extracted


def part_of(extracted: Extracted) -> str:
    """The part of the model that a layer is counted with: a text encoder, or a block of the UNet."""
    layer = extracted.layer
    if layer.component != "unet":
        return layer.component
    first, second, *_ = layer.tensor.split(".")
    return f"unet.{first}.{second}" if first in ("down_blocks", "up_blocks") else f"unet.{first}"


def summarize(extracted: Sequence[Extracted]) -> dict[str, dict[str, Any]]:
    """Part -> layers, least and greatest rank, share of the squared difference of its layers that is kept."""
    parts: dict[str, list[Extracted]] = {}
    for each in extracted:
        parts.setdefault(part_of(each), []).append(each)
    return {
        part: {
            "layers": len(members),
            "ranks": [min(each.rank for each in members), max(each.rank for each in members)],
            "kept": round(sum(each.kept * each.squared for each in members) / _squared(members), 6),
        }
        for part, members in parts.items()
    }


def table_lines(facts: Mapping[str, Any]) -> list[str]:
    """The table of a LoRA's manifest."""
    rows = [("part", "layers", "rank", "kept")]
    for part, found in facts["parts"].items():
        least, greatest = found["ranks"]
        rank = str(least) if least == greatest else f"{least}-{greatest}"
        rows.append((part, str(found["layers"]), rank, _percent(found["kept"])))
    widths = [max(len(row[place]) for row in rows) for place in range(4)]
    lines = [
        "  ".join(cell.ljust(width) if not place else cell.rjust(width) for place, (cell, width) in columns).rstrip()
        for columns in (enumerate(zip(row, widths, strict=True)) for row in rows)
    ]
    held = {network: share for network, share in facts["held"].items() if share is not None}
    told = ", ".join(f"{network} {_percent(share)}" for network, share in held.items())
    return [*lines, f"kept of the whole difference, with what is in no layer of the LoRA: {told}"]


def held(extracted: Iterable[Extracted], outside: Mapping[str, float]) -> dict[str, float | None]:
    """Network -> share of its whole squared difference (`outside`: that of all other tensors) that the LoRA holds;
    None for a network without a difference."""
    shares: dict[str, float | None] = {}
    found = list(extracted)
    for network, rest in outside.items():
        members = [each for each in found if each.layer.component == network]
        total = _squared(members) + rest
        shares[network] = round(sum(each.kept * each.squared for each in members) / total, 6) if total else None
    return shares


def _squared(members: Iterable[Extracted]) -> float:
    return sum(each.squared for each in members)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
