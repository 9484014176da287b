"""The epoch to expect, before and after balancing: how much of it is what, and how even it is.

Three ways of weighing the pictures are set side by side, as far as there are such:

    before     every picture once
    after      as balanced: repeats times loss weight
    literal    what the published pseudo-code would have done (`literal`)

Of shares p_1 ... p_k, the entropy is -sum of p log2 p, in bits: k equal classes have log2 k. The Gini coefficient is
the mean difference of two classes over twice their mean: 0 for equal ones, (k - 1) / k when one has everything. Of
pictures with weights w, the effective number is (sum w)^2 / sum of w^2 (Kish 1965): as many equal ones tell as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from animetune.curate.coded import CodedLists
from animetune.curate.steps import Outcome
from animetune.curate.weigh.weights import KINDS, TAG_COLUMNS

READS = (*TAG_COLUMNS, "repeats", "loss_weight", "literal_repeats")
WRITES: tuple[str, ...] = ()
FACTS_NEEDS = ("tag_counts", "tag_views")

VIEWS_SCHEMA = {"kind": pl.String(), "tag": pl.String(), "weighed": pl.String(), "count": pl.Int64()}
PER_VIEW = 1000
"""`tag_views` counts in thousandths: integers, whose sums no order changes."""
HEAD, TAIL = 0.5, 0.1
"""The head are the most frequent tags that make this share of all uses together, the tail the rarest ones."""
QUARTERS = 4
SHOWN = 20
"""Tags of the head that are named."""

Weights = Mapping[str, np.ndarray]
"""How the pictures are weighed (`before`, `after`, `literal`) -> float64 (pictures,)."""


def entropy(sizes: np.ndarray) -> float:
    """Entropy in bits of the shares that classes of these sizes have; 0 without any."""
    present = sizes[sizes > 0]
    shares = present / present.sum() if len(present) else present
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def gini(sizes: np.ndarray) -> float:
    """Gini coefficient of sizes from 0; 0 without any."""
    total = sizes.sum()
    if not total > 0:
        return 0.0
    rank = np.arange(1, len(sizes) + 1)
    return float(2 * (rank * np.sort(sizes)).sum() / (len(sizes) * total) - (len(sizes) + 1) / len(sizes))


def effective(weights: np.ndarray) -> float:
    """Kish's effective number of samples with these weights; 0 without any."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def of_pictures(weights: Weights, tags: np.ndarray) -> dict[str, Any]:
    """Facts of the epoch as a whole. `tags`: int (pictures,), how many tags each has.

    `per_picture_by_tags`: how often a picture is seen, on average, of the quarter with the fewest tags, and so on;
    pictures with equally many tags are in one quarter.
    """
    by_number = np.bincount(tags)
    fewer = np.cumsum(by_number) - by_number
    quarter = ((fewer + by_number / 2) * QUARTERS / max(1, len(tags))).astype(np.int64)[tags]
    size = np.maximum(np.bincount(quarter, minlength=QUARTERS), 1)
    return {
        "samples": {name: round(float(each.sum()), 3) for name, each in weights.items()},
        "effective_pictures": {name: round(effective(each), 1) for name, each in weights.items()},
        "gini_pictures": {name: round(gini(each), 4) for name, each in weights.items()},
        "never_seen": {name: int((each == 0).sum()) for name, each in weights.items()},
        "largest": {name: round(float(each.max(initial=0.0)), 4) for name, each in weights.items()},
        "per_picture_by_tags": {
            name: (np.bincount(quarter, weights=each, minlength=QUARTERS) / size).round(4).tolist()
            for name, each in weights.items()
        },
    }


def of_classes(classes: np.ndarray, names: np.ndarray, weights: Weights) -> dict[str, Any]:
    """Facts of classes that every picture has at most one of. `classes`: int (pictures,), -1 for none."""
    return of_sizes(names, sizes_of(classes, len(names), weights))


def sizes_of(classes: np.ndarray, count: int, weights: Weights) -> dict[str, np.ndarray]:
    """How the pictures are weighed -> float64 (count,), how large each class is then. `classes`: as of `of_classes`."""
    held = classes >= 0
    return {name: np.bincount(classes[held], weights=each[held], minlength=count) for name, each in weights.items()}


def of_sizes(names: np.ndarray, sizes: Weights) -> dict[str, Any]:
    """Facts of named sizes: the sizes themselves, their entropy and Gini coefficient."""
    return {
        "samples": {
            str(name): {weighed: round(float(size[place]), 3) for weighed, size in sizes.items()}
            for place, name in sorted(enumerate(names), key=lambda item: str(item[1]))
        },
        **evenness(sizes),
    }


def evenness(sizes: Weights) -> dict[str, Any]:
    """Entropy in bits and Gini coefficient, each way of weighing the pictures."""
    return {
        "entropy": {name: round(entropy(each), 4) for name, each in sizes.items()},
        "gini": {name: round(gini(each), 4) for name, each in sizes.items()},
    }


def count_tags(rows: pl.DataFrame) -> Outcome:
    """Count how much each tag is seen. The table `tag_views` has kind, tag, weighed (`after`, `literal`) and count.

    Needs the columns READS; counts are in thousandths.
    """
    weighed = {"after": rows["repeats"].cast(pl.Float64) * rows["loss_weight"].cast(pl.Float64)}
    if rows["literal_repeats"].null_count() == 0:
        weighed["literal"] = rows["literal_repeats"].cast(pl.Float64)
    pieces = [pl.DataFrame(schema=VIEWS_SCHEMA)]
    for kind in KINDS:
        coded = CodedLists.of(rows[f"tags_{kind}"])
        of_row = coded.rows
        for name, weights in weighed.items():
            thousandths = np.rint(weights.to_numpy() * PER_VIEW)[of_row]
            counts = np.bincount(coded.codes, weights=thousandths, minlength=len(coded.names)).astype(np.int64)
            tags = pl.DataFrame({"tag": coded.names.tolist(), "count": counts}, schema_overrides={"tag": pl.String()})
            pieces.append(tags.select(pl.lit(kind).alias("kind"), "tag", pl.lit(name).alias("weighed"), "count"))
    return Outcome(kept=rows, tables={"tag_views": pl.concat(pieces)})


def tag_facts(rows: pl.DataFrame, tag_counts: pl.DataFrame, tag_views: pl.DataFrame) -> Outcome:
    """Note how even the tags of each kind are, and what share the head and the tail of them have.

    `tag_counts`: the table of the step `weights`; `tag_views`: that of `count_tags`.
    """
    return Outcome(kept=rows, facts={"tag_epoch": {kind: of_tags(kind, tag_counts, tag_views) for kind in KINDS}})


def of_tags(kind: str, tag_counts: pl.DataFrame, tag_views: pl.DataFrame) -> dict[str, Any]:
    """Facts of the tags of one kind."""
    tags = tag_counts.filter(kind=kind).sort("count", "tag", descending=[True, False]).select("tag", before="count")
    views = tag_views.filter(kind=kind)
    for weighed in ("after", "literal"):
        if tag_views.filter(weighed=weighed).height or weighed == "after":
            found = views.filter(weighed=weighed).select("tag", (pl.col("count") / PER_VIEW).alias(weighed))
            tags = tags.join(found, on="tag", how="left", maintain_order="left").fill_null(0.0)
    sizes = {name: tags[name].to_numpy().astype(np.float64) for name in tags.columns[1:]}
    behind = np.cumsum(sizes["before"][::-1])[::-1]  # uses of a tag and of all rarer ones
    uses = behind[0] if len(behind) else 0.0
    head, tail = behind > (1 - HEAD) * uses, behind <= TAIL * uses
    return {
        "tags": tags.height,
        **evenness(sizes),
        "head": {"tags": int(head.sum()), "share": _shares(sizes, head)},
        "tail": {"tags": int(tail.sum()), "share": _shares(sizes, tail)},
        "most": of_sizes(tags["tag"].head(SHOWN).to_numpy(), {name: each[:SHOWN] for name, each in sizes.items()})[
            "samples"
        ],
    }


def _shares(sizes: Weights, held: np.ndarray) -> dict[str, float]:
    return {name: round(float(each[held].sum() / max(each.sum(), 1e-12)), 4) for name, each in sizes.items()}
