"""The step `dedup`: of pictures that are equal pixel by pixel, one is kept.

Equal files are equal pixels, so one comparison finds both. Pictures that only look alike are left alone: a perceptual
hash cannot tell two faces of one sprite apart (curation research: distance 0 between smile and surprise).
"""

from __future__ import annotations

import polars as pl

from animetune.curate import families
from animetune.curate.steps import Outcome

REASON = "duplicate"


def keep_best(rows: pl.DataFrame) -> Outcome:
    """Keep the best of each set of equal pictures: highest score (unknown is lowest), then lowest source and id.

    Their areas are equal, so no size has to decide. The families of all are joined, so that what is related to a
    duplicate is related to the one that is kept.
    """
    rows = rows.sort("score", "source", "id", descending=[True, False, False], nulls_last=True)
    rows = rows.with_columns(is_best=pl.col("pixel_md5").is_null() | pl.col("pixel_md5").is_first_distinct())
    best = rows.filter("is_best").select("pixel_md5", best_family="family")
    twins = rows.filter(~pl.col("is_best")).join(best, on="pixel_md5").select("family", "best_family")
    rows = families.join_families(rows, twins.iter_rows()).sort("source", "id")
    return Outcome(
        kept=rows.filter("is_best").drop("is_best", "pixel_md5"),
        dropped=rows.filter(~pl.col("is_best")).select("key", reason=pl.lit(REASON)),
    )
