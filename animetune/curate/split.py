"""The steps `places` and `split`: which pictures are held out for validation, by whole families.

A family's place in [0, 1) is a hash of the seed and its name, so it does not depend on which other posts there are:
the same family stays on the same side when posts are added or filters change. Held out are the lowest places.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from animetune.curate.config.split import SplitConfig
from animetune.curate.steps import Outcome
from animetune.seeding import Purpose, key_for, text_counter

READS_OF_PLACES = ("family",)
WRITES_OF_PLACES = ("place",)
READS = ("place",)
WRITES = ("split",)

PLACES = 2**64
"""Places are whole numbers below this; two of 7 million families share one with a chance of one in a million."""


def add_places(rows: pl.DataFrame, seed: int) -> Outcome:
    """Add `place`, by part: seven million hashes in Python take 10 seconds of one core."""
    places = [place(family, seed) for family in rows["family"].to_list()]
    return Outcome(rows.with_columns(place=pl.Series(places, dtype=pl.UInt64)))


def hold_out(rows: pl.DataFrame, cfg: SplitConfig) -> Outcome:
    """Add `split`: `val` for the families with the lowest places, `train` for all others."""
    families = rows["place"].unique().sort().to_numpy()
    val = held_out(families, share=cfg.val_share, at_most=cfg.val_families)
    is_val = pl.col("place") <= int(val[-1]) if len(val) else pl.lit(False)
    rows = rows.with_columns(split=pl.when(is_val).then(pl.lit("val")).otherwise(pl.lit("train")))
    return Outcome(rows, facts={"families": len(families), "val_families": len(val)})


def held_out(places: np.ndarray, *, share: float, at_most: int) -> np.ndarray:
    """Of rising places, those below `share` of all that there could be; the lowest, if they are more than `at_most`."""
    below = len(places) if share >= 1 else int(np.searchsorted(places, np.uint64(share * PLACES)))
    return places[: min(below, at_most)]


def place(family: str, seed: int) -> int:
    """A whole number below PLACES, uniform over families."""
    return key_for(seed, Purpose.SPLIT, text_counter(family)) >> 64
