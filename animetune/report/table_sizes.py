"""Which sizes the pictures of a table would get, and how their own sizes and ratios are spread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from animetune.buckets import SizesConfig, enumerate_sizes, place
from animetune.figures import Cell, Mark, Spot, binned_chart, density_chart
from animetune.records import Size
from animetune.report.table_counts import Count
from animetune.svg import Svg

CELLS = 44
"""Cells of the plane of sizes, each way."""
RATIO_BINS = 72
RATIOS = (
    (1 / 8, "1:8"), (1 / 4, "1:4"), (1 / 3, "1:3"), (1 / 2, "1:2"), (2 / 3, "2:3"), (1.0, "1:1"), (3 / 2, "3:2"),
    (2.0, "2:1"), (3.0, "3:1"), (4.0, "4:1"), (8.0, "8:1"),
)  # fmt: skip
SIDES = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


@dataclass(frozen=True)
class SizeRow:
    """The training pictures that one size gets."""

    tier: str
    size: Size
    pictures: int
    seen: float
    cropped: float
    """Mean share of a picture that is cut off."""
    enlarged: int
    """Pictures that are smaller than the size on a side."""


@dataclass(frozen=True)
class Sizes:
    """What the pictures' own sizes are, and what they become."""

    rows: Sequence[SizeRow]
    """By tier and size."""
    too_small: int
    """Pictures that no size would take without enlarging them by more than `max_upscale`."""
    pictures: Mapping[Size, int]
    """The pictures' own sizes."""
    lines: Sequence[Size]
    """The sizes of all tiers, if they are listed."""


def measure(found: Mapping[int, Count], cfg: SizesConfig, *, max_upscale: float) -> Sizes:
    """Place pictures, counted by `width << 32 | height`, as the shard stage would."""
    known = {code: count for code, count in sorted(found.items()) if code >> 32 > 0 and code & 0xFFFFFFFF > 0}
    codes = np.array(list(known), dtype=np.int64)
    sources = np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1).reshape(-1, 2)
    pictures = np.array([count.pictures for count in known.values()], dtype=np.int64)
    seen = np.array([count.seen for count in known.values()], dtype=np.float64)
    rows: list[SizeRow] = []
    placed_once = np.zeros(len(sources), bool)
    for placed in place(sources, pictures, cfg, max_upscale=max_upscale) if len(sources) else []:
        placed_once[placed.which] = True
        scale = placed.targets / sources[placed.which]
        cropped = 1 - scale.min(axis=1, initial=np.inf) / scale.max(axis=1, initial=0)
        packed = placed.targets[:, 0] << 32 | placed.targets[:, 1]
        for code in np.unique(packed).tolist():
            here = packed == code
            number = pictures[placed.which][here]
            rows.append(
                SizeRow(
                    tier=placed.tier.name,
                    size=Size(code >> 32, code & 0xFFFFFFFF),
                    pictures=int(number.sum()),
                    seen=float(seen[placed.which][here].sum()),
                    cropped=float((cropped[here] * number).sum() / number.sum()),
                    enlarged=int(number[scale[here].max(axis=1) > 1].sum()),
                )
            )
    return Sizes(
        rows=rows,
        too_small=int(pictures[~placed_once].sum()),
        pictures={Size(*source): int(number) for source, number in zip(sources.tolist(), pictures, strict=True)},
        lines=[size for tier in cfg.all_tiers for size in enumerate_sizes(tier)],
    )


def size_chart(sizes: Sizes) -> Svg:
    """Widths and heights on logarithmic axes, with a ring for every size."""
    title, labels = "Sizes of the pictures", ("width, pixels", "height, pixels")
    ticks = [Mark(math.log2(side), f"{side:,}") for side in SIDES]
    if not sizes.pictures:
        return density_chart([], title=title, limits=(0, 1), labels=labels, ticks=ticks)
    logs = np.log2(np.array(list(sizes.pictures), dtype=np.float64))
    low, high = logs.min() - 0.05, logs.max() + 0.05
    if sizes.lines:  # the rings have to be inside
        rings = np.log2(np.array(sizes.lines, dtype=np.float64))
        low, high = min(low, rings.min() - 0.1), max(high, rings.max() + 0.1)
    edges = np.linspace(low, high, CELLS + 1)
    counts, _, _ = np.histogram2d(logs[:, 0], logs[:, 1], bins=[edges, edges], weights=list(sizes.pictures.values()))
    sides = np.round(2**edges).astype(int).tolist()
    cells = [
        Cell(
            edges[x], edges[x + 1], edges[y], edges[y + 1], counts[x, y],
            f"{sides[x]:,} to {sides[x + 1]:,} × {sides[y]:,} to {sides[y + 1]:,}: {counts[x, y]:,.0f}",
        )
        for x, y in np.argwhere(counts > 0).tolist()
    ]  # fmt: skip
    spots = [Spot(math.log2(size.width), math.log2(size.height), size.name) for size in sizes.lines]
    return density_chart(cells, title=title, limits=(low, high), labels=labels, ticks=ticks, spots=spots)


def ratio_chart(sizes: Sizes) -> Svg:
    """Ratios of sides on a logarithmic axis, with a line for the ratio of every size."""
    logs = np.array([math.log2(size.width / size.height) for size in sizes.pictures])
    lines = {round(math.log2(size.width / size.height), 4) for size in sizes.lines}
    reach = max([1.0, *np.abs(logs), *map(abs, lines)]) + 0.05
    reach = min(reach, math.log2(12))
    edges = np.linspace(-reach, reach, RATIO_BINS + 1)
    counts, _ = np.histogram(np.clip(logs, -reach, reach), bins=edges, weights=list(sizes.pictures.values()))
    return binned_chart(
        edges.tolist(),
        counts.tolist(),
        title="Ratios of sides",
        x_label="width : height; a line for each size",
        marks=[Mark(at, "") for at in sorted(lines)],
        ticks=[Mark(math.log2(ratio), name) for ratio, name in RATIOS],
    )
