"""Families: posts that belong together (parents, children, duplicates), so that none is trained on and validated by.

A family is named by the smallest key in it, which need not be in the data: siblings share an absent parent.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl


def with_family(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `family`: equal for rows that are linked by `parent`, over any number of steps."""
    linked = rows.filter(pl.col("parent").is_not_null()).select("key", "parent")
    return _renamed(rows.with_columns(family=pl.col("key")), roots(linked.iter_rows()))


def join_families(rows: pl.DataFrame, pairs: Iterable[tuple[str, str]]) -> pl.DataFrame:
    """Make one of the families in each pair of family names."""
    return _renamed(rows, roots(pairs))


def roots(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name -> smallest name of its connected component, for every name in `pairs` (union-find, Tarjan 1975)."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while (parent := above.setdefault(name, name)) != name:
            above[name] = name = above[parent]
        return name

    for left, right in pairs:
        low, high = sorted((top(left), top(right)))
        above[high] = low
    return {name: top(name) for name in above}


def _renamed(rows: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    if not names:
        return rows
    mapping = pl.DataFrame({"family": list(names), "root": list(names.values())})
    joined = rows.join(mapping, on="family", how="left", maintain_order="left")
    return joined.with_columns(family=pl.coalesce("root", "family")).drop("root")
