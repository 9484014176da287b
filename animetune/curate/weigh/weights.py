"""The steps `weights` and `rarity`: of every picture's tags, the few numbers that balancing needs of them.

Balancing looks at all pictures at once, and so never at lists of tags. What it needs of them is made here, by part:

    weights    how many tags of each tag group a picture has; its style class; a table of how often tags occur
    rarity     from that table, how much rarer a picture's tags are than the typical tag of their group (factor `tags`)

For a tag of group g in f pictures the log-ratio is ln (m_g / f), where m_g is the tag of the group at which half of the
uses of its tags are reached, counted from the rarest. The median of the tags themselves is no measure of what is
typical: half of Danbooru's general tags have fewer than 200 pictures, and every picture would seem to be full of
over-used ones. With m_g, what is above and what is below are used equally often.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import polars as pl

from animetune.curate.coded import CodedLists
from animetune.curate.config.balance import TagsBalance
from animetune.curate.steps import Outcome
from animetune.curate.tag.tag_lists import OTHER, Vocabulary
from animetune.curate.weigh.styles import OTHER_LISTS, Styles

KINDS = ("general", "character", "copyright", "artist")
"""Kinds of tags that are counted, each in the column `tags_<kind>`. All but the general ones are a group each."""
TAG_COLUMNS = tuple(f"tags_{kind}" for kind in KINDS)

READS = tuple(dict.fromkeys((*TAG_COLUMNS, *OTHER_LISTS)))
WRITES = ("tag_groups", "style_class")
RARITY_READS = TAG_COLUMNS
RARITY_WRITES = ("tag_rarity",)
RARITY_NEEDS = ("tag_counts",)

COUNTS_SCHEMA = {"kind": pl.String(), "group": pl.String(), "tag": pl.String(), "count": pl.Int64()}
MOST_PER_GROUP = 255
"""`tag_groups` counts up to this many tags."""


def weights(rows: pl.DataFrame, vocabulary: Vocabulary, styles: Styles) -> Outcome:
    """Add `tag_groups` (list[u8], one number for each of `group_names`) and `style_class`; count tags.

    The table `tag_counts` has kind, group, tag and count, the pictures that have the tag.
    """
    names = group_names(vocabulary)
    lists_of = functools.cache(lambda name: CodedLists.of(rows[name]))
    counts = []
    for kind in KINDS:
        coded = lists_of(f"tags_{kind}")
        groups = tag_groups(coded.names, kind, vocabulary)
        if kind == "general":
            table = group_table(coded, groups, names)
        counts.append(
            pl.DataFrame(
                {
                    "kind": pl.repeat(kind, len(coded.names), dtype=pl.String, eager=True),
                    "group": groups.tolist(),
                    "tag": coded.names.tolist(),
                    "count": np.bincount(coded.codes, minlength=len(coded.names)),
                },
                schema=COUNTS_SCHEMA,
            )
        )
    kept = rows.with_columns(
        pl.Series("tag_groups", table, dtype=pl.Array(pl.UInt8, len(names))).cast(pl.List(pl.UInt8)),
        styles.of_lists(lists_of),
    )
    return Outcome(kept=kept, tables={"tag_counts": pl.concat(counts)})


def rarity(rows: pl.DataFrame, cfg: TagsBalance, tag_counts: pl.DataFrame) -> Outcome:
    """Add `tag_rarity` (float32): the log-ratios of a picture's tags as one; 0 without any.

    `tag_counts`: the table of the step `weights`, of all pictures.
    """
    known = log_ratios(tag_counts, cfg)
    return Outcome(kept=rows.with_columns(tag_rarity=pl.Series(combined(rows, known, cfg.kinds), dtype=pl.Float32)))


def group_names(vocabulary: Vocabulary) -> list[str]:
    """The tag groups in the order of `tag_groups`."""
    return [*vocabulary.groups, OTHER]


def group_table(tags: CodedLists, groups: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """uint8 (rows, groups): how many tags of each group a row has, counted up to MOST_PER_GROUP.

    `groups`: (distinct,), the group of each of `tags.names`.
    """
    number = {name: index for index, name in enumerate(names)}
    of_tag = np.array([number[group] for group in groups], dtype=np.int64)
    table = np.zeros((len(tags), len(names)), np.uint8)
    for rows, piece in tags.pieces():
        cells = piece.rows * len(names) + of_tag.take(piece.codes)
        counts = np.bincount(cells, minlength=len(piece) * len(names)).reshape(len(piece), len(names))
        table[rows] = np.minimum(counts, MOST_PER_GROUP)
    return table


def tag_groups(tags: np.ndarray, kind: str, vocabulary: Vocabulary) -> np.ndarray:
    """object (tags,): the tag group of each tag of a kind."""
    if kind != "general":
        return np.full(len(tags), kind, dtype=object)
    known = _known_groups(vocabulary.digest)
    known |= vocabulary.group_of([tag for tag in tags if tag not in known])
    return np.array([known[tag] for tag in tags], dtype=object)


def log_ratios(tag_counts: pl.DataFrame, cfg: TagsBalance) -> pl.DataFrame:
    """kind, group, tag, log_ratio: ln (m_g / f) of every tag that has a say."""
    counted = tag_counts.filter(pl.col("kind").is_in(list(cfg.kinds)), pl.col("count") >= cfg.min_pictures)
    counted = counted.sort("kind", "group", "count", "tag")
    group = ("kind", "group")
    reached = 2 * pl.col("count").cum_sum().over(group) >= pl.col("count").sum().over(group)
    typical = pl.col("count").filter(reached).first().over(group)
    return counted.select(*group, "tag", log_ratio=(typical / pl.col("count")).log())


def combined(rows: pl.DataFrame, known: pl.DataFrame, kinds: Sequence[str]) -> np.ndarray:
    """float64 (rows,): the log-ratios of a row's tags, as their mean inside each group, and the mean of those.

    So a group whose tags come in dozens has no more say than another. 0 for a row without a tag that has a say.
    """
    total, groups = np.zeros(rows.height), np.zeros(rows.height)
    for kind in kinds:
        coded = CodedLists.of(rows[f"tags_{kind}"])
        names = pl.DataFrame({"tag": coded.names.tolist()}, schema={"tag": pl.String()})
        of_kind = known.filter(kind=kind)
        found = names.join(of_kind, on="tag", how="left", maintain_order="left")
        distinct = of_kind["group"].unique().sort()
        silent = len(distinct)  # the group of the tags that have no say
        of_tag = found["group"].cast(pl.Enum(distinct)).to_physical().cast(pl.Int64).fill_null(silent).to_numpy()
        log_ratio = found["log_ratio"].fill_null(0.0).to_numpy()
        for place, piece in coded.pieces():
            cells = piece.rows * (silent + 1) + of_tag.take(piece.codes)
            shape = len(piece), silent + 1
            tags = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
            sums = np.bincount(cells, log_ratio.take(piece.codes), minlength=tags.size).reshape(shape)
            means = sums / np.maximum(tags, 1)
            for group in range(silent):  # one by one: a sum along an axis adds up in an order of its own
                total[place] += means[:, group]
                groups[place] += tags[:, group] > 0
    return total / np.maximum(groups, 1)


@functools.lru_cache(maxsize=4)
def _known_groups(digest: str) -> dict[str, str]:
    """Tag -> group, of tags that were met before: the groups of a part's tags take longer than all else."""
    return {}
