"""The step `content`: what each picture shows, as exactly one content bucket, and why.

Rules are about tags alone. DashAnime XL publishes the names of the buckets, not the rules: these are ours.

    unpeopled      tagged no_humans, or without any people-count tag
    animal         unpeopled, and a tag says that an animal is the subject, or names one and the picture is no scenery
    object         unpeopled, and a tag says that a thing is the subject, or names one and the picture shows no place
    no_human       tagged no_humans, or without a count tag and tagged as scenery
    1girl_*        one girl and nobody else, or the one in focus of a mixed group; by emotion tags
    1boy_*         the same
    multiple_girls, multiple_boys    several of one kind; a mixed group goes where `mixed` says

The bucket is the first of `priority` whose rule holds. `content_conflict` lists the others that hold (of the people
buckets at most one ever does), so that doubtful pictures can be looked at.
"""

from __future__ import annotations

import polars as pl

from animetune.curate.config.content import ContentConfig
from animetune.curate.filters import has_any
from animetune.curate.steps import Outcome
from animetune.curate.tag_lists import Vocabulary

UNASSIGNED = "unassigned"
"""Drop reason: no rule holds, as for a post without people-count tags that is no scenery either."""

COUNTS: dict[str, dict[str, int]] = {
    kind: {f"1{kind}": 1, f"multiple_{kind}s": 2, f"6+{kind}s": 6} | {f"{n}{kind}s": n for n in range(2, 6)}
    for kind in ("girl", "boy", "other")
}
"""Kind of person -> tag -> the least number that it states."""


def assign(rows: pl.DataFrame, cfg: ContentConfig, vocabulary: Vocabulary) -> Outcome:
    """Add `content_bucket`, `content_reason` and `content_conflict`; rows without a bucket are dropped."""
    columns = [*rows.columns, "content_bucket", "content_reason", "content_conflict"]
    rows = rows.with_columns(all_tags=pl.concat_list("tags_count", "tags_general", "tags_special", "tags_meta"))
    rows = rows.with_columns(**{f"is_{name}": expr for name, expr in evidence(cfg, vocabulary).items()})
    rows = rows.with_columns(**{f"n_{kind}": people(kind) for kind in COUNTS})
    rows = rows.with_columns(subject=subject(cfg.mixed))
    rows = rows.with_columns(**{f"rule_{bucket}": expr for bucket, expr in rules().items()})

    holds = {bucket: pl.col(f"rule_{bucket}").is_not_null() for bucket in cfg.priority}
    bucket = pl.coalesce(*(pl.when(held).then(pl.lit(name)) for name, held in holds.items()))
    reason = pl.coalesce(f"rule_{name}" for name in cfg.priority)
    others = pl.concat_list(pl.when(held).then(pl.lit(name)) for name, held in holds.items()).list.drop_nulls()
    conflict = others.list.slice(1).list.join(",")
    rows = rows.with_columns(content_bucket=bucket, content_reason=reason, content_conflict=conflict).select(columns)
    has_bucket = pl.col("content_bucket").is_not_null()
    return Outcome(
        kept=rows.filter(has_bucket),
        dropped=rows.filter(~has_bucket).select("key", reason=pl.lit(UNASSIGNED)),
        facts={"conflicts": rows.filter(has_bucket & (pl.col("content_conflict") != "")).height},
    )


def evidence(cfg: ContentConfig, vocabulary: Vocabulary) -> dict[str, pl.Expr]:
    """What single tags say, as truth values of the column `all_tags`."""
    emotion = ("emotion-strong",) if cfg.emotion == "strong" else ("emotion-strong", "emotion-weak")
    lists = {
        "no_humans": ["no_humans"],
        "solo_focus": ["solo_focus"],
        "male_focus": ["male_focus"],
        "emotion": vocabulary.tags(*emotion),
        "animal_focus": vocabulary.tags("animal-focus"),
        "animal": vocabulary.tags("animal"),
        "object_focus": vocabulary.tags("object-focus"),
        "object": vocabulary.tags("object"),
        "scenery": vocabulary.tags("scenery"),
        "place": vocabulary.tags("scenery", "place"),
    }
    return {name: has_any(tags, pl.col("all_tags")) for name, tags in lists.items()}


def people(kind: str) -> pl.Expr:
    """The least number of people of a kind (`girl`, `boy`, `other`) that the count tags state."""
    stated = pl.element().replace_strict(COUNTS[kind], default=0, return_dtype=pl.Int32)
    return pl.col("tags_count").list.eval(stated).list.max().fill_null(0)


def subject(mixed: str) -> pl.Expr:
    """`<kind>:<reason>`, where kind is 1girl, 1boy, multiple_girls or multiple_boys; null for nobody or no rule.

    Needs n_girl, n_boy, n_other, is_solo_focus, is_male_focus.
    """
    girls, boys, others = (pl.col(f"n_{kind}") for kind in COUNTS)
    of_kinds = (girls > 0).cast(pl.Int32) + (boys > 0).cast(pl.Int32) + (others > 0).cast(pl.Int32)
    girls_only, boys_only = (girls > 0) & (of_kinds == 1), (boys > 0) & (of_kinds == 1)
    is_mixed = (of_kinds > 1) & ((girls > 0) | (boys > 0))
    by_number = (
        pl.when(boys > girls).then(pl.lit("multiple_boys:majority")).otherwise(pl.lit("multiple_girls:majority"))
    )
    on_boys = (boys > 0) & (pl.col("is_male_focus") | (girls == 0))
    by_focus = (
        pl.when(pl.col("is_solo_focus") & on_boys)
        .then(pl.lit("1boy:solo_focus"))
        .when("is_solo_focus")
        .then(pl.lit("1girl:solo_focus"))
        .when(on_boys)
        .then(pl.lit("multiple_boys:male_focus"))
        .otherwise(by_number)
    )
    policies = {
        "focus": by_focus,
        "majority": by_number,
        "girls": pl.lit("multiple_girls:mixed"),
        "drop": pl.lit(None, dtype=pl.String),
    }
    return (
        pl.when(girls_only & (girls == 1))
        .then(pl.lit("1girl:count"))
        .when(boys_only & (boys == 1))
        .then(pl.lit("1boy:count"))
        .when(girls_only)
        .then(pl.lit("multiple_girls:count"))
        .when(boys_only)
        .then(pl.lit("multiple_boys:count"))
        .when(is_mixed)
        .then(policies[mixed])
    )


def rules() -> dict[str, pl.Expr]:
    """Content bucket -> the reason for which its rule holds, null where it does not."""
    nobody = (pl.col("n_girl") == 0) & (pl.col("n_boy") == 0) & (pl.col("n_other") == 0)
    unpeopled = pl.col("is_no_humans") | nobody
    kind = pl.col("subject").str.extract(r"^(.*):", 1)
    reason = pl.col("subject").str.extract(r":(.*)$", 1)

    def by_emotion(who: str, *, emotion: bool) -> pl.Expr:
        return pl.when((kind == who) & (pl.col("is_emotion") == emotion)).then(reason)

    return {
        "1girl_with_emotion": by_emotion("1girl", emotion=True),
        "1girl_only": by_emotion("1girl", emotion=False),
        "1boy_with_emotion": by_emotion("1boy", emotion=True),
        "1boy_only": by_emotion("1boy", emotion=False),
        "multiple_girls": pl.when(kind == "multiple_girls").then(reason),
        "multiple_boys": pl.when(kind == "multiple_boys").then(reason),
        "animal": pl.when(unpeopled & pl.col("is_animal_focus"))
        .then(pl.lit("animal_focus"))
        .when(unpeopled & pl.col("is_animal") & ~pl.col("is_scenery"))
        .then(pl.lit("animal_tag")),
        "object": pl.when(unpeopled & pl.col("is_object_focus"))
        .then(pl.lit("object_focus"))
        .when(unpeopled & pl.col("is_object") & ~pl.col("is_place"))
        .then(pl.lit("object_tag")),
        "no_human": pl.when("is_no_humans")
        .then(pl.lit("no_humans"))
        .when(nobody & pl.col("is_scenery"))
        .then(pl.lit("scenery")),
    }
