"""Homonyms: one text in prompts for two kinds of tags, as `doctor`, a profession and a character of Arknights.

A model cannot tell them apart. `same_text` are tags of different kinds that are written alike in prompts; `same_name`
are alike but for what characters and series have in brackets at their end (`rose`, `rose_(pokemon)`): they are told
apart only as long as prompts keep the brackets. `tags.rename` tells them apart for good.
"""

from __future__ import annotations

import polars as pl

from animetune.prompts import render_tag

SCHEMA = {"text": pl.String(), "match": pl.String(), "kind": pl.String(), "tag": pl.String(), "count": pl.Int64()}
FILE = "homonyms.csv"
"""Where they are listed, beside the table."""
NAMED = ("character", "copyright")
"""Kinds whose bracketed end is no part of the name."""


def homonyms(uses: pl.DataFrame) -> pl.DataFrame:
    """text, match, kind, tag, count: the tags of every homonym, the most used homonyms first.

    `uses`: kind, tag, count, as the step `tags` counts them; kinds are `general`, `character`, `copyright`, `artist`.
    A homonym's use is that of its second most used kind: so often is it likely to be taken for the other.
    """
    uses = uses.with_columns(text=pl.col("tag").map_elements(render_tag, return_dtype=pl.String))
    bare = pl.col("text").str.replace(r"(.) \([^()]*\)$", "$1")
    named = uses.with_columns(text=pl.when(pl.col("kind").is_in(NAMED)).then(bare).otherwise("text"))
    same_text = _alike(uses).with_columns(match=pl.lit("same_text"))
    same_name = _alike(named).with_columns(match=pl.lit("same_name")).join(same_text, on="text", how="anti")
    found = pl.concat([same_text, same_name])
    by_kind = found.group_by("text", "kind").agg(pl.col("count").sum()).sort("text", "count", descending=[False, True])
    second = by_kind.group_by("text", maintain_order=True).agg(weight=pl.col("count").slice(1, 1).first())
    order = found.join(second, on="text").sort(
        "weight", "text", "count", "kind", "tag", descending=[True, False, True, False, False]
    )
    return order.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())


def texts(found: pl.DataFrame) -> int:
    """How many texts are written for tags of different kinds, of what `homonyms` found."""
    return found.filter(match="same_text")["text"].n_unique()


def _alike(uses: pl.DataFrame) -> pl.DataFrame:
    """The tags whose text has more than one kind."""
    return uses.filter(pl.col("kind").n_unique().over("text") > 1)
