"""The steps of `dedup`: of equal pictures one is kept, of a family as many as wanted.

Duplicates are found twice: by what posts state (MD5 of the file, hash of the pixels) before any picture is opened, and
by the decoded pixels. Pictures that only look alike are left to the step behind (`lookalikes`).

With `union_tags` the duplicates stay until the decoded pixels are known, then give their tags to the one that is kept
(`collect_tags`, `unite_tags`) and go.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from animetune.curate import families
from animetune.curate.config.dedup import DedupConfig, Measure
from animetune.curate.parts import ROW
from animetune.curate.read.posts import TAG_CLASSES
from animetune.curate.select.lists import INCLUDED, TAKEN_DOWN
from animetune.curate.steps import Outcome

REASON = "duplicate"
FAMILY_REASON = "family_limit"
TAKEDOWN_REASON = "takedown"
STATED = ("md5", "pixel_hash")
"""What posts state of their pictures."""
TWIN_OF = "twin_of"
"""Column: the number of the row that is kept of a set of duplicates."""
TAGS = ("tags_special", *(f"tags_{name}" for name in TAG_CLASSES))
"""The lists that `unite_tags` puts together. People counts of two posts could contradict each other."""

READS_OF_RANKING = ("source", "id", "score", "fav_count", "created_at", "family", INCLUDED)
READS_BEFORE = (*READS_OF_RANKING, *STATED, "post_width", "post_height", "post_bytes", TAKEN_DOWN)
READS_AFTER = (*READS_OF_RANKING, *STATED, "pixel_digest", "width", "height", "image_bytes")
WRITES = ("family",)
WRITES_WITH_UNION = ("family", TWIN_OF)
READS_TAGS = (*TAGS, TWIN_OF)
WRITES_TAGS = TAGS
TWIN_TAGS = "twin_tags"
"""Name of the table of what duplicates have: `twin_of`, `list`, `tag`, `count`."""


def before_decoding(rows: pl.DataFrame, cfg: DedupConfig) -> Outcome:
    """Drop what was taken down, in every source that has the file; and duplicates by what posts state."""
    rest, taken_down = drop_taken_down(rows)
    if cfg.union_tags:
        kept, duplicates, facts = rest, rest.clear(), {"sets": 0, **dict.fromkeys(STATED, 0)}
    else:
        names = [name for name in cfg.by if name in STATED]
        kept, duplicates, facts = keep_best(rest, names, ranking(cfg.best, "post_width", "post_height", "post_bytes"))
    dropped = [_dropped(taken_down, TAKEDOWN_REASON), _dropped(duplicates, REASON)]
    return Outcome(kept=kept, dropped=pl.concat(dropped), facts={"duplicates_stated": facts})


def after_decoding(rows: pl.DataFrame, cfg: DedupConfig) -> Outcome:
    """Drop duplicates by the decoded pixels, and what is more than a family may have.

    With `union_tags`, duplicates of pictures that are kept stay, beside `twin_of`.
    """
    by_worth = ranking(cfg.best, "width", "height", "image_bytes")
    names = cfg.by if cfg.union_tags else [name for name in cfg.by if name not in STATED]
    kept, duplicates, facts = keep_best(rows, names, by_worth)
    kept, beyond = limit_families(kept, cfg.family_limit, by_worth)
    if cfg.union_tags:
        has_kept = pl.col(TWIN_OF).is_in(kept[ROW].implode())
        staying, duplicates = duplicates.filter(has_kept), duplicates.filter(~has_kept)
        kept = pl.concat([kept, staying]).sort(ROW)
    dropped = [_dropped(duplicates, REASON), _dropped(beyond, FAMILY_REASON)]
    return Outcome(kept=kept, dropped=pl.concat(dropped), facts={"duplicates_decoded": facts})


def drop_taken_down(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows that may be used, rows that were taken down): those listed, and all with an equal MD5 or pixel hash."""
    listed = rows.filter(TAKEN_DOWN)
    if listed.is_empty():
        return rows, listed
    same = [pl.col(name).is_in(listed[name].drop_nulls().unique().implode()).fill_null(value=False) for name in STATED]
    is_taken_down = pl.any_horizontal(TAKEN_DOWN, *same)
    return rows.filter(~is_taken_down), rows.filter(is_taken_down)


def keep_best(
    rows: pl.DataFrame, names: Sequence[str], by_worth: Sequence[pl.Expr]
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    """(best rows, their duplicates, facts): rows are duplicates where any of the columns `names` is equal, not null.

    Equality goes on: where a equals b by one column, and b equals c by another, the three are one set. Rows keep their
    order and gain `twin_of`. The families of duplicates are joined, so that what is related to a duplicate is related
    to the one that is kept. Facts: the number of sets, and by column how many rows share their value with others.
    """
    sets, shared = _sets(rows, names)
    facts = {"sets": sets["set"].n_unique(), **shared}
    if sets.is_empty():
        alone = rows.with_columns(pl.col(ROW).alias(TWIN_OF))
        return alone, alone.clear(), facts
    candidates = rows.join(sets, on=ROW, how="inner", maintain_order="left").sort(*by_worth, maintain_order=True)
    best = candidates.select(
        ROW, "family", first=pl.col(ROW).first().over("set"), kin=pl.col("family").first().over("set")
    )
    rows = families.join_families(
        rows, best.filter(pl.col("family") != pl.col("kin")).select("family", "kin").iter_rows()
    )
    twins = best.select(ROW, pl.col("first").alias(TWIN_OF))
    rows = rows.join(twins, on=ROW, how="left", maintain_order="left").with_columns(
        pl.col(TWIN_OF).fill_null(pl.col(ROW))
    )
    is_best = pl.col(TWIN_OF) == pl.col(ROW)
    return rows.filter(is_best), rows.filter(~is_best), facts


def limit_families(
    rows: pl.DataFrame, limit: int | None, by_worth: Sequence[pl.Expr]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows, those beyond the best `limit` of their family); rows on an include list count, but always stay."""
    if limit is None:
        return rows, rows.clear()
    large = rows.filter(pl.len().over("family") > limit).sort(*by_worth, maintain_order=True)
    beyond = large.filter((pl.int_range(pl.len()).over("family") >= limit) & ~pl.col(INCLUDED))[ROW]
    is_beyond = pl.col(ROW).is_in(beyond.implode())
    return rows.filter(~is_beyond), rows.filter(is_beyond)


def ranking(measures: Sequence[Measure], width: str, height: str, size: str) -> list[pl.Expr]:
    """Keys to sort by, the best row first; ties go to the lowest source and id."""
    worth = {
        "area": pl.col(width).cast(pl.Int64) * pl.col(height),
        "bytes": pl.col(size),
        "score": pl.col("score"),
        "favourites": pl.col("fav_count"),
        "newest": pl.col("created_at").dt.epoch("us"),
        "oldest": -pl.col("created_at").dt.epoch("us"),
    }
    # Ranks from the least, so that unknown values, which have none, are below all others.
    descending = [-worth[name].rank("dense").cast(pl.Int64).fill_null(0) for name in measures]
    return [~pl.col(INCLUDED), *descending, pl.col("source"), pl.col("id")]


def collect_tags(rows: pl.DataFrame) -> Outcome:
    """Drop the duplicates that stayed for their tags, and leave these in the table `twin_tags`."""
    is_best = pl.col(TWIN_OF) == pl.col(ROW)
    twins = rows.filter(~is_best)
    found = [
        twins.select(TWIN_OF, list=pl.lit(name), tag=pl.col(name)).explode("tag", empty_as_null=False).drop_nulls("tag")
        for name in TAGS
    ]
    tags = pl.concat(found).group_by(TWIN_OF, "list", "tag", maintain_order=True).len("count")
    return Outcome(kept=rows.filter(is_best), dropped=_dropped(twins, REASON), tables={TWIN_TAGS: tags})


def unite_tags(rows: pl.DataFrame, twin_tags: pl.DataFrame) -> Outcome:
    """Add to every list the tags that duplicates had and the row has not, in alphabetical order, at the end."""
    mine = twin_tags.filter(pl.col(TWIN_OF).is_in(rows[ROW].implode())).sort("tag")
    united, added = rows, {}
    for name in TAGS:
        of_list = mine.filter(pl.col("list") == name).group_by(TWIN_OF, maintain_order=True).agg(pl.col("tag"))
        joined = united.select(ROW, name).join(
            of_list, left_on=ROW, right_on=TWIN_OF, how="left", maintain_order="left"
        )
        both = pl.concat_list(pl.col(name, "tag").fill_null([]))
        lists = joined.select(both.list.unique(maintain_order=True).alias(name))
        added[name] = int((lists[name].list.len() - rows[name].list.len().fill_null(0)).sum())
        united = united.with_columns(lists[name])
    return Outcome(kept=united, facts={"tags_of_duplicates": added})


def _sets(rows: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, dict[str, int]]:
    """`row`, `set` (its lowest row) of the rows that share a value of any column; column -> how many share it."""
    is_shared = {name: rows[name].is_not_null() & rows[name].is_duplicated() for name in names}
    shared = {name: int(each.sum()) for name, each in is_shared.items()}
    members = rows.select(ROW, *names, set=ROW).filter(pl.any_horizontal(*is_shared.values(), pl.lit(value=False)))
    before = None
    while before is None or not before.equals(members["set"]):  # seldom more than twice: chains of equals are short
        before = members["set"]
        for name in names:
            lowest = pl.col("set").min().over(name)
            members = members.with_columns(set=pl.when(pl.col(name).is_null()).then("set").otherwise(lowest))
    return members.select(ROW, "set"), shared


def _dropped(rows: pl.DataFrame, reason: str) -> pl.DataFrame:
    return rows.select("key", reason=pl.lit(reason))
