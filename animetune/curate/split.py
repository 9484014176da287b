"""The step `split`: which pictures are held out for validation, by whole families.

A family's place in [0, 1) is a hash of the seed and its name, so it does not depend on which other posts there are:
the same family stays on the same side when posts are added or filters change.
"""

from __future__ import annotations

import polars as pl

from animetune.curate.config.split import SplitConfig
from animetune.curate.steps import Outcome
from animetune.seeding import Purpose, key_for, text_counter

READS = ("family",)
WRITES = ("split",)


def hold_out(rows: pl.DataFrame, cfg: SplitConfig, *, seed: int) -> Outcome:
    """Add `split`: `val` for the families with the lowest places, `train` for all others."""
    families = rows["family"].unique().to_list()
    val = held_out(families, share=cfg.val_share, at_most=cfg.val_families, seed=seed)
    is_val = pl.col("family").is_in(sorted(val))
    rows = rows.with_columns(split=pl.when(is_val).then(pl.lit("val")).otherwise(pl.lit("train")))
    facts = {"families": len(families), "val_families": len(val)}
    return Outcome(kept=rows, facts=facts)


def held_out(families: list[str], *, share: float, at_most: int, seed: int) -> set[str]:
    """The families whose place is below `share`; of more than `at_most`, those with the lowest places."""
    places = ((place(family, seed), family) for family in families)
    lowest = sorted(found for found in places if found[0] < share)
    return {family for _, family in lowest[:at_most]}


def place(family: str, seed: int) -> float:
    """A number in [0, 1), uniform over families."""
    return key_for(seed, Purpose.SPLIT, text_counter(family)) / 2**128
