"""The step `balance`: how often each picture is seen, as a factor on `repeats`.

DashAnime XL: partition the tags into groups, count each group, sample frequent groups less and rare ones more; then
move each content bucket toward the median bucket. No formulas are published; ours, for a strength a in [0, 1]:

    group g with f_g pictures       w_g = (median f / f_g)^a
    picture with the groups G       factor = clip(exp(mean of ln w_g over G), min, max)
    bucket b with n_b repeats       factor = clip((median n / n_b)^a, min, max)

n_b counts the repeats so far, so factors compose in the order of the configuration. Sums run in row order in NumPy:
Polars adds up floats in an order that depends on its threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from animetune.curate.config.balance import Balance, ContentBucketsBalance, TagGroupsBalance
from animetune.curate.steps import Outcome
from animetune.curate.tag_lists import OTHER, Vocabulary

SLICE_ROWS = 262_144
"""Rows whose tags are taken apart at a time, which bounds the memory."""


def weigh(rows: pl.DataFrame, factors: Sequence[Balance], vocabulary: Vocabulary) -> Outcome:
    """Add `repeats` and `loss_weight`."""
    repeats = np.ones(rows.height)
    facts: dict[str, Any] = {}
    for cfg in factors:
        match cfg:
            case TagGroupsBalance():
                groups, names = group_table(rows["tags_general"], vocabulary)
                factor = group_factors(groups, strength=cfg.strength)
                facts["tag_groups"] = dict(zip(names, groups.sum(axis=0).tolist(), strict=True))
            case ContentBucketsBalance():
                factor = bucket_factors(rows["content_bucket"].to_numpy(), repeats, strength=cfg.strength)
        repeats *= np.clip(factor, cfg.min, cfg.max)
    return Outcome(
        kept=rows.with_columns(repeats=pl.Series(repeats, dtype=pl.Float32), loss_weight=pl.lit(1.0, dtype=pl.Float32)),
        facts=facts | {"repeats": round(float(repeats.sum()), 3)},
    )


def group_factors(groups: np.ndarray, *, strength: float) -> np.ndarray:
    """The geometric mean of (median group / group)^strength over the groups of each picture; 1 without a group.

    `groups`: bool (pictures, groups), which picture has a tag of which group. Returns float64 (pictures,).
    """
    pictures = groups.sum(axis=0)
    present = pictures[pictures > 0]
    if not len(present):
        return np.ones(len(groups))
    log_weights = strength * np.log(np.median(present) / np.maximum(pictures, 1))
    total = np.zeros(len(groups))
    for index, log_weight in enumerate(log_weights):  # not a matrix product: BLAS adds up in an order of its own
        total += groups[:, index] * log_weight
    return np.exp(total / np.maximum(groups.sum(axis=1), 1))


def bucket_factors(buckets: np.ndarray, repeats: np.ndarray, *, strength: float) -> np.ndarray:
    """(median bucket / bucket)^strength for each picture, where a bucket is as large as the repeats in it.

    `buckets`: (pictures,) names; `repeats`: float64 (pictures,). Returns float64 (pictures,).
    """
    if not len(buckets):
        return np.ones(0)
    _, index = np.unique(buckets, return_inverse=True)
    size = np.bincount(index, weights=repeats)
    return ((np.median(size) / size) ** strength)[index]


def group_table(tags: pl.Series, vocabulary: Vocabulary) -> tuple[np.ndarray, list[str]]:
    """bool (pictures, groups), which picture has a tag of which group; and the names of the groups."""
    names = [*vocabulary.groups, OTHER]
    number = {name: index for index, name in enumerate(names)}
    distinct = sorted(tags.explode().drop_nulls().unique().to_list())
    group = vocabulary.group_of(distinct)
    mapping = pl.DataFrame(
        {"tag": distinct, "group": [number[group[tag]] for tag in distinct]},
        schema={"tag": pl.String(), "group": pl.Int32()},
    )
    table = np.zeros((len(tags), len(names)), dtype=bool)
    for start in range(0, len(tags), SLICE_ROWS):
        piece = tags.slice(start, SLICE_ROWS).alias("tag").to_frame().with_row_index("row", offset=start)
        held = piece.explode("tag").join(mapping, on="tag").select("row", "group").unique()
        table[held["row"].to_numpy(), held["group"].to_numpy()] = True
    return table, names
