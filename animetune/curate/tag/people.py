"""How many people a picture shows, as its people-count tags state."""

from __future__ import annotations

import numpy as np
import polars as pl

from animetune.curate.coded import CodedLists

COUNTS: dict[str, dict[str, int]] = {
    kind: {f"1{kind}": 1, f"multiple_{kind}s": 2, f"6+{kind}s": 6} | {f"{n}{kind}s": n for n in range(2, 6)}
    for kind in ("girl", "boy", "other")
}
"""Kind of person -> tag -> the least number that it states."""
ALONE = "solo"
NOBODY = "no_humans"


def least_people(counts: CodedLists) -> pl.Series:
    """i32 (rows,): the least number of people that people-count tags state; null where they state none.

    The largest number of each kind, added up; `solo` alone is one, `no_humans` alone none.
    """
    held = counts.codes
    total = np.zeros(len(counts), dtype=np.int32)
    for stated in COUNTS.values():
        number = np.array([stated.get(tag, 0) for tag in counts.names], dtype=np.int32)[held]
        most = np.zeros(len(counts), dtype=np.int32)
        np.maximum.at(most, counts.rows[number > 0], number[number > 0])
        total += most
    total[(total == 0) & counts.any((counts.names == ALONE)[held])] = 1
    known = (total > 0) | counts.any((counts.names == NOBODY)[held])
    return pl.Series("n_people", total, dtype=pl.Int32).set(pl.Series(~known), None)
