"""The step `table`: whole rows, in the columns of `records.TABLE_COLUMNS`, and how often each class occurs."""

from __future__ import annotations

import polars as pl

from animetune import tables
from animetune.curate.steps import Outcome, counted

READS = tuple(tables.schema())
WRITES = READS

COUNTED = ("content_bucket", "rating", "quality", "year", "split", "image_format")
"""Columns whose values the manifest counts."""


def whole_rows(rows: pl.DataFrame) -> Outcome:
    """The rows as they are, and their classes counted."""
    return Outcome(kept=rows, facts={"counts": {name: counted(rows[name]) for name in COUNTED}})
