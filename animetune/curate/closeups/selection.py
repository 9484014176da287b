"""Which pictures close-ups are cut from: large ones, and those with a tag that few others have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from animetune.curate.coded import CodedLists
from animetune.curate.config.closeups import CloseupsConfig, RareKind
from animetune.curate.parts import Part


@dataclass(frozen=True)
class Selection:
    """What makes a picture one of those."""

    cfg: CloseupsConfig
    rare: Mapping[RareKind, frozenset[str]] = field(default_factory=dict)
    """Class of tags -> those that fewer pictures have than asked."""

    @classmethod
    def of(cls, cfg: CloseupsConfig, parts: Sequence[Part]) -> Selection:
        """Count the tags of all pictures where that is asked; holds the lists of one part at a time."""
        return cls(cfg, {kind: rare_tags(parts, f"tags_{kind}", below) for kind, below in cfg.rare.items()})

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that `chosen` looks at."""
        return ("width", "height", *(f"tags_{kind}" for kind in self.rare))

    def chosen(self, rows: pl.DataFrame) -> pl.Series:
        """bool (rows,): whether close-ups may be cut from the picture."""
        width, height = rows["width"].cast(pl.Int64), rows["height"].cast(pl.Int64)
        reasons = []
        if self.cfg.min_megapixels is not None:
            reasons.append(width * height >= self.cfg.min_megapixels * 1e6)
        if self.cfg.min_picture_side is not None:
            reasons.append(rows.select(pl.min_horizontal("width", "height")).to_series() >= self.cfg.min_picture_side)
        for kind, tags in self.rare.items():
            lists = CodedLists.of(rows[f"tags_{kind}"])
            is_rare = np.array([name in tags for name in lists.names], dtype=bool)
            reasons.append(pl.Series(lists.any(is_rare[lists.codes])))
        chosen = pl.Series(np.full(rows.height, not reasons))
        for reason in reasons:
            chosen |= reason.fill_null(value=False)
        return chosen


def rare_tags(parts: Sequence[Part], column: str, below: int) -> frozenset[str]:
    """The tags of a column that fewer than `below` rows have."""
    uses: dict[str, int] = {}
    for part in parts:
        lists = CodedLists.of(part.read([column], coded=True)[column])
        counts = np.bincount(lists.codes, minlength=len(lists.names))
        for tag, count in zip(lists.names.tolist(), counts.tolist(), strict=True):
            uses[tag] = uses.get(tag, 0) + count
    return frozenset(tag for tag, count in uses.items() if count < below)
