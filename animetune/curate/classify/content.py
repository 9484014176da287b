"""The step `content`: what each picture shows, as exactly one content bucket, and why.

Rules are about tags alone. DashAnime XL publishes the names of nine buckets, not their rules: these are ours.

    unpeopled      tagged no_humans, or without a tag of people: neither a count nor another one (`crowd`, `couple`)
    animal         unpeopled, and a tag says that an animal is the subject, or names one and the picture is no scenery
    object         unpeopled, and a tag says that a thing is the subject, or names one and the picture shows no place
    no_human       tagged no_humans, or without a tag of people and tagged as scenery
    1girl_*        one girl and nobody else, or the one in focus of a mixed group; by emotion tags
    1boy_*         the same
    multiple_girls, multiple_boys    several of one kind; a mixed group goes where `mixed` says

The published list is a part of a longer one, so there can be others, by rules in `content.buckets`. The bucket is the
first of `priority` whose rule holds. `content_conflict` lists the others that hold (of the people buckets at most one
ever does), so that doubtful pictures can be looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from animetune.curate.classify.bucket_rules import (
    NUMBERS,
    built_in_rules,
    counted_as,
    evidence,
    own_rule,
    parts_of_subject,
    stated_counts,
    subject,
)
from animetune.curate.classify.signs import named_signs, sign_words
from animetune.curate.coded import CodedLists
from animetune.curate.config.content import ContentConfig
from animetune.curate.steps import Outcome
from animetune.curate.tag.people import COUNTS
from animetune.curate.tag.tag_lists import Vocabulary

READS = (
    "tags_count", "tags_general", "tags_special", "tags_meta", "tags_character", "tags_copyright", "tags_artist",
    "tags_implied",
)  # fmt: skip
"""All lists of tags, since a rule may name any tag."""
WRITES = ("content_bucket", "content_reason", "content_conflict")

UNASSIGNED = "unassigned"
"""Drop reason: no rule holds, as for a post without tags of people that is no scenery either."""
FALLBACK = "fallback"
"""The reason of pictures for which no rule holds, if they have a bucket."""


def assign(rows: pl.DataFrame, cfg: ContentConfig, vocabulary: Vocabulary) -> Outcome:
    """Add `content_bucket`, `content_reason` and `content_conflict`; rows without a bucket are dropped."""
    rows = rows.with_columns(decide(rows, cfg, vocabulary))
    has_bucket = pl.col("content_bucket").is_not_null()
    kept = rows.filter(has_bucket)
    return Outcome(
        kept=kept,
        dropped=rows.filter(~has_bucket).select("key", reason=pl.lit(UNASSIGNED)),
        facts=facts(kept),
    )


def decide(rows: pl.DataFrame, cfg: ContentConfig, vocabulary: Vocabulary) -> pl.DataFrame:
    """WRITES of each row; the bucket is null where no rule holds and there is no fallback.

    Most pictures say what many others say, so each thing said is decided once.
    """
    lists = evidence(cfg, vocabulary) | stated_counts()
    words = sign_words([CodedLists.of(rows[name]) for name in READS], lists)
    said = pl.DataFrame({f"word {place}": word for place, word in enumerate(words)})
    distinct = said.unique(maintain_order=True)
    decided = _decide(_signs(named_signs(distinct.to_numpy().T, lists)), cfg)
    return said.join(distinct.hstack(decided), on=said.columns, how="left", maintain_order="left").select(WRITES)


def _signs(found: dict[str, np.ndarray]) -> pl.DataFrame:
    """A bool for each list of `evidence`, and `n_<kind>`, people as tags state them."""
    people = {
        f"n_{kind}": np.max([number * found.pop(f"{number} {kind}") for number in NUMBERS], axis=0).astype(np.int32)
        for kind in COUNTS
    }
    return pl.DataFrame(found | people)


def _decide(said: pl.DataFrame, cfg: ContentConfig) -> pl.DataFrame:
    said = said.with_columns(**counted_as(cfg.others)).with_columns(subject=subject(cfg.mixed))
    said = said.with_columns(**parts_of_subject())
    rules = built_in_rules() | {rule.name: own_rule(rule) for rule in cfg.buckets}
    reasons = said.select(**{name: rules[name] for name in cfg.priority})

    names = [pl.when(pl.col(name).is_not_null()).then(pl.lit(name)) for name in cfg.priority]
    return reasons.select(
        content_bucket=pl.coalesce(*names, pl.lit(cfg.fallback, dtype=pl.String)),
        content_reason=pl.coalesce(*cfg.priority, pl.lit(FALLBACK)),
        content_conflict=pl.concat_list(*names).list.drop_nulls().list.slice(1).list.join(","),
    )


def facts(kept: pl.DataFrame) -> dict[str, Any]:
    """`conflicts`: how many pictures another bucket would hold too; `content`: how often each reason occurs in each
    bucket, and with which others it is in conflict."""
    conflicting = kept.filter(pl.col("content_conflict") != "")
    others = conflicting.select("content_bucket", pl.col("content_conflict").str.split(",")).explode("content_conflict")
    return {
        "conflicts": conflicting.height,
        "content": {"reasons": _counted(kept, "content_reason"), "conflicts": _counted(others, "content_conflict")},
    }


def _counted(rows: pl.DataFrame, column: str) -> dict[str, dict[str, int]]:
    """Bucket -> value -> how often it occurs."""
    counts = rows.group_by("content_bucket", column).len().sort("content_bucket", column)
    found: dict[str, dict[str, int]] = {}
    for bucket, value, count in counts.iter_rows():
        found.setdefault(bucket, {})[value] = count
    return found
