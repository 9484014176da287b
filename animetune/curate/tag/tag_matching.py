"""Which rows have a tag: by names and by patterns, as Polars expressions over lists of tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import polars as pl


def lower(columns: Sequence[str]) -> list[pl.Expr]:
    """The lists in lower case, as the names of filters are."""
    return [pl.col(name).list.eval(pl.element().str.to_lowercase()) for name in columns]


def holds(columns: Sequence[str], tags: Sequence[str], match: Literal["any", "all"] = "any") -> pl.Expr:
    """Whether the lists of a row together have any, or all, of the tags, in each of which `*` stands for any text."""
    if match == "all":
        return pl.all_horizontal(holds(columns, [tag]) for tag in tags)
    fits = _fits(tags)
    return pl.any_horizontal(pl.col(name).list.eval(fits).list.any().fill_null(value=False) for name in columns)


def counts(rows: pl.DataFrame, columns: Sequence[str], tags: Sequence[str]) -> dict[str, int]:
    """Tag -> how often it is in the lists, for each of `tags`; 0 too."""
    uses = pl.concat([rows[name].explode(empty_as_null=False) for name in columns])
    found = uses.filter(uses.is_in(list(tags))).value_counts(name="count")
    return dict.fromkeys(tags, 0) | dict(found.iter_rows())


def _fits(tags: Sequence[str]) -> pl.Expr:
    """Whether an element of a list is one of the tags or fits a pattern."""
    fits = pl.element().is_in([tag for tag in tags if "*" not in tag])
    patterns = [".*".join(map(re.escape, tag.split("*"))) for tag in tags if "*" in tag]
    return fits | pl.element().str.contains(f"^(?:{'|'.join(patterns)})$") if patterns else fits
